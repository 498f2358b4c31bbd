package delivery

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	collectTime  = 30 * time.Second // for one round of log pages
	collectPages = 32               // pages of one round; the device keeps 512 entries
)

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
	for range collectPages {
		after := e.cursor(id)
		entries, err := e.page(ctx, &d, after)
		if err != nil || len(entries) == 0 {
			return err
		}
		for _, entry := range entries {
			if err := e.note(ctx, &d, entry); err != nil {
				return err
			}
			after = max(after, entry.N)
		}
		e.setCursor(id, after)
	}
	return nil
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

// note marks the used action of a once-grant.
func (e *Engine) note(ctx context.Context, d *authz.Device, entry news.Entry) error {
	if entry.Result != news.ResultDone && entry.Result != news.ResultUnknown || entry.Grant == (pop.GrantID{}) || entry.Action >= uint64(len(d.Actions)) {
		return nil
	}
	action := d.Actions[entry.Action]
	grant, err := e.store.Grant(ctx, entry.Grant)
	if err != nil || !grant.Once || !action.Methods.ChangesState() {
		return nil //nolint:nilerr // a grant we do not know has nothing to be marked
	}
	return e.store.Spend(ctx, grant.ID, aif.Entry{Path: action.Path, Methods: action.Methods.Changing()})
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
