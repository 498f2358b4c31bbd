package delivery

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var errLongLog = errors.New("the log goes on, though all that a device keeps was read")

var errStuckLog = errors.New("the log does not go on after the entry asked for")

// Collect asks a device for its access log and notes on the grants what was used up (D14). A second call for the same
// device while one runs does nothing. Entries seen before are harmless: noting is idempotent.
func (e *Engine) Collect(ctx context.Context, id provision.DeviceID) {
	if !e.begin(id) {
		return
	}
	defer e.end(id)
	ctx, cancel := context.WithTimeout(ctx, collectTime)
	defer cancel()
	if err := e.collect(ctx, id); err != nil {
		e.log.Warn("collect log", "device", provision.Audience(id), "err", err)
	}
}

func (e *Engine) begin(id provision.DeviceID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.collecting[id] {
		return false
	}
	e.collecting[id] = true
	return true
}

func (e *Engine) end(id provision.DeviceID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.collecting, id)
}

func (e *Engine) collect(ctx context.Context, id provision.DeviceID) error {
	d, err := e.store.Device(ctx, id)
	if err != nil {
		return err
	}
	wanted, err := e.store.LogWanted(ctx, id)
	if err != nil {
		return err
	}
	if !wanted.IsZero() {
		// The store went back: what was noted of entries seen before may be gone from it.
		e.setCursor(id, 0)
	}
	if err := e.collectAll(ctx, &d); err != nil || wanted.IsZero() {
		return err
	}
	return e.store.LogRead(ctx, id, wanted)
}

// collectAll reads to the end of the log.
func (e *Engine) collectAll(ctx context.Context, d *authz.Device) error {
	for range collectPages {
		after := e.cursor(d.ID)
		entries, err := e.page(ctx, d, after)
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, entry := range entries {
			if err := e.note(ctx, d, entry); err != nil {
				return err
			}
		}
		last := entries[len(entries)-1].N
		if last <= after {
			return errStuckLog
		}
		e.setCursor(d.ID, last)
	}
	return errLongLog
}

func (e *Engine) page(ctx context.Context, d *authz.Device, after uint64) ([]news.Entry, error) {
	request := message.Message{Code: codes.GET, Options: coapsec.Options("/lk/log", coapsec.NoFormat)}
	request.Options = request.Options.Add(message.Option{ID: message.URIQuery, Value: fmt.Appendf(nil, "after=%d", after)})
	response, err := e.exchange(ctx, d, request)
	if err != nil {
		return nil, err
	}
	return news.ParseEntries(response.Payload)
}

// note marks the used action of a once-grant. A device speaks for the grants on itself alone: what it says of others is
// ignored, like what was never a grant.
func (e *Engine) note(ctx context.Context, d *authz.Device, entry news.Entry) error {
	used, ok := usedAction(d, entry)
	if !ok {
		return nil
	}
	grant, err := e.store.Grant(ctx, entry.Grant)
	if errors.Is(err, authz.ErrNotFound) {
		return nil
	}
	if err != nil || !grant.Once || grant.Device != d.ID {
		return err
	}
	return e.store.Spend(ctx, grant.ID, used)
}

// usedAction is what an entry says to have been changed, or that it may have been (D14).
func usedAction(d *authz.Device, entry news.Entry) (aif.Entry, bool) {
	happened := entry.Result == news.ResultDone || entry.Result == news.ResultUnknown
	if !happened || entry.Grant == (pop.GrantID{}) || entry.Action >= uint64(len(d.Actions)) {
		return aif.Entry{}, false
	}
	action := d.Actions[entry.Action]
	return aif.Entry{Path: action.Path, Methods: action.Methods.Changing()}, action.Methods.ChangesState()
}

func (e *Engine) cursor(id provision.DeviceID) uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cursors[id]
}

func (e *Engine) setCursor(id provision.DeviceID, n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cursors[id] = n
}
