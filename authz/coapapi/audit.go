package coapapi

import (
	"context"

	"github.com/latchkey-ace/latchkey/authz"
)

// noteMove records that a device is believed to be at a new address: where uploads go from now on.
func (f *face) noteMove(ctx context.Context, d *authz.Device, address string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), authz.AuditTime)
	defer cancel()
	entry := authz.AuditEntry{At: f.server.Now(), Event: "register", Result: "granted", Reason: "now at " + address, User: d.Owner, Device: d.Audience()}
	if err := f.server.Store().Record(ctx, entry); err != nil {
		f.log.Error("audit entry lost", "event", entry.Event, "device", entry.Device, "err", err)
	}
}
