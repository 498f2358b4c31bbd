package trust

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// keys are an attester's, read anew from time to time and when a token names one that is not there. It is safe for concurrent use.
type keys struct {
	name  string
	fetch func(context.Context) ([]byte, error)
	fresh time.Duration // how long a set is not asked for again
	now   func() time.Time

	mu     sync.Mutex
	set    *jose.Set     // nil: never had
	read   time.Time     // when it was got
	tried  time.Time     // when it was last asked for
	failed error         // of the last try
	asking chan struct{} // closed when the try that is on its way has ended; nil: none is
}

// Find is a jose.Finder. A set that cannot be had is authz.ErrUnavailable, once the last one is too old or does not have the key. Who
// asks for a key of a fresh set waits for nobody; who needs a new set waits for FetchTime at most, all for the same try.
func (k *keys) Find(kid string) (*jose.Key, error) {
	key, wait, err := k.look(kid)
	if wait == nil {
		return key, err
	}
	<-wait
	key, _, err = k.look(kid)
	return key, err
}

// look says what is known now, and what to wait for if a new set may know more.
func (k *keys) look(kid string) (key *jose.Key, wait chan struct{}, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if k.set == nil || now.Sub(k.read) >= k.fresh || now.Before(k.read) {
		if wait = k.ask(now); wait != nil {
			return nil, wait, nil
		}
	}
	if k.set == nil || now.Sub(k.read) > MaxStale {
		return nil, nil, k.away()
	}
	if key, err = k.set.Find(kid); err == nil {
		return key, nil, nil
	}
	if wait = k.ask(now); wait == nil && k.failed != nil {
		err = k.away()
	}
	return nil, wait, err
}

// ask begins to ask for the set, or finds that this is being done; nil if it is too early: tokens drive no pace.
func (k *keys) ask(now time.Time) chan struct{} {
	pause := Pause
	if k.failed != nil {
		pause = PauseAway
	}
	if k.asking != nil || !k.tried.IsZero() && now.Sub(k.tried) < pause && !now.Before(k.tried) {
		return k.asking
	}
	k.tried, k.asking = now, make(chan struct{})
	go k.refresh(now, k.asking)
	return k.asking
}

func (k *keys) refresh(now time.Time, done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), FetchTime)
	defer cancel()
	text, err := k.fetch(ctx)
	var set *jose.Set
	if err == nil {
		set, err = jose.ParseSet(text)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.set, k.read = set, now
	}
	k.failed, k.asking = err, nil
	close(done)
}

func (k *keys) away() error {
	why := k.failed
	if why == nil {
		why = errors.New("they were asked for a moment ago")
	}
	return fmt.Errorf("%w: the keys of attester %s cannot be had now: %w", authz.ErrUnavailable, k.name, why)
}

func fromFile(path string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return bounded(f)
	}
}

// fromURL asks the attester. A redirect leads to somebody else, so none is followed.
func fromURL(address string, transport http.RoundTripper) func(context.Context) ([]byte, error) {
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		answer, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("it answered %d", answer.StatusCode)
		}
		return bounded(answer.Body)
	}
}

func bounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, jose.MaxSet+1))
	if err == nil && len(text) > jose.MaxSet {
		err = fmt.Errorf("more than %d bytes", jose.MaxSet)
	}
	return text, err
}
