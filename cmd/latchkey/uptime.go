package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// uptime is the time since the machine started, asleep or not.
func uptime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // on Linux it is always there
	return time.Duration(t.Nano())
}
