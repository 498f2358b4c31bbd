# Latchkey. `make run` plays the two stories and leaves everything up; `make test` runs every test.
SHELL    := /bin/bash
PROGRAMS := latchkey doorlock healthmonitor phone
FUZZTIME ?= 60s
export GOTOOLCHAIN := local

.PHONY: run demo test check bench soak fuzz build setup clean

run: build
	bin/latchkey demo --stay

demo: build
	bin/latchkey demo

build:
	@.ci/build $(PROGRAMS)

setup:
	@.ci/setup

check:
	@.ci/check

test: setup check build
	@.ci/test

bench: build
	@.ci/bench

soak: setup build
	@.ci/soak

fuzz:
	@.ci/fuzz $(FUZZTIME)

clean:
	rm -rf bin
