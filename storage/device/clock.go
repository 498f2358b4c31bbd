package device

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bootIDFile is made anew by the kernel at each boot.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// Clock is a resource.Clock on Linux: CLOCK_BOOTTIME, which runs on in sleep, and the kernel's boot id. NewClock makes it.
type Clock struct{ boot string }

// NewClock reads the boot id once; a system without one is an error.
func NewClock() (Clock, error) {
	id, err := os.ReadFile(bootIDFile)
	if err != nil {
		return Clock{}, fmt.Errorf("boot id: %w", err)
	}
	return Clock{boot: strings.TrimSpace(string(id))}, nil
}

// Uptime implements resource.Clock.
func (c Clock) Uptime() (time.Duration, string) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, "" // an unknown time has passed: that shortens lifetimes, never lengthens them
	}
	return time.Duration(t.Nano()), c.boot
}

// Now is a time for measuring ages that runs on in sleep, unlike the monotonic part of time.Now. Its date means nothing.
func (c Clock) Now() time.Time {
	uptime, _ := c.Uptime()
	return time.Unix(0, 0).Add(uptime)
}
