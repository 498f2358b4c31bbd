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
	set    *jose.Set // nil: never had
	read   time.Time // when it was got
	tried  time.Time // when it was last asked for
	failed error     // of the last try
}

// Find is a jose.Finder. A set that cannot be had is authz.ErrUnavailable, once the last one is too old or does not have the key.
func (k *keys) Find(kid string) (*jose.Key, error) {
	k.mu.Lock() // whoever waits here would only ask for the same
	defer k.mu.Unlock()
	now := k.now()
	if now.Sub(k.read) >= k.fresh {
		k.refresh(now)
	}
	if k.set == nil || now.Sub(k.read) > MaxStale {
		return nil, k.away()
	}
	key, err := k.set.Find(kid)
	if err == nil {
		return key, nil
	}
	if k.refresh(now); k.failed != nil {
		return nil, k.away()
	}
	return k.set.Find(kid)
}

// refresh asks for the set, at a pace that tokens cannot drive.
func (k *keys) refresh(now time.Time) {
	if !k.tried.IsZero() && now.Sub(k.tried) < Pause && !now.Before(k.tried) {
		return
	}
	k.tried = now
	ctx, cancel := context.WithTimeout(context.Background(), FetchTime)
	defer cancel()
	text, err := k.fetch(ctx)
	if err == nil {
		var set *jose.Set
		if set, err = jose.ParseSet(text); err == nil {
			k.set, k.read = set, now
		}
	}
	k.failed = err
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
