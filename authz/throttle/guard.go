package throttle

import (
	"fmt"
	"net/netip"
	"time"
)

// Kind is what is limited.
type Kind string

// Kinds. The key of each is made by a method of Guard.
const (
	Source     Kind = "source"     // requests from one network
	Client     Kind = "client"     // requests of one authenticated client
	Device     Kind = "device"     // requests of one client for one device, or of a device itself
	Credential Kind = "credential" // wrong client credentials and codes, for one client from one network
	Account    Kind = "account"    // passwords, for one account from one network or in one browser that is recognised
	Strangers  Kind = "strangers"  // passwords, for one account in all browsers that are not
	UserCode   Kind = "user code"  // codes typed in, by one person
	People     Kind = "people"     // people who are new to one installation of an app
	Copies     Kind = "copies"     // installations of apps that are new to one person
)

// Rules are what a server that faces the internet begins with. Loopback is no source, so that a proxy nobody declared does
// not make everyone one.
func Rules() map[Kind]Rule {
	return map[Kind]Rule{
		Source:     {Burst: 1000, Every: 5 * time.Millisecond}, // a carrier's network holds many phones
		Client:     {Burst: 2000, Every: time.Millisecond},
		Device:     {Burst: 120, Every: 500 * time.Millisecond}, // a household at one door
		Credential: {Free: 10, First: time.Second, Max: 5 * time.Minute},
		Account:    {Free: 5, First: time.Second, Max: 15 * time.Minute},
		Strangers:  {Burst: 100, Every: 36 * time.Second}, // NIST SP 800-63B: at most 100 in a row
		UserCode:   {Burst: 10, Every: 30 * time.Second, Free: 5, First: time.Second, Max: 15 * time.Minute},
		People:     {Burst: 8, Every: 72 * time.Hour}, // a household on one tablet; a farm that lends its phones has more
		Copies:     {Burst: 20, Every: 24 * time.Hour},
	}
}

// Error refuses a request for now.
type Error struct {
	Kind Kind
	Wait time.Duration // until it is worth asking again
}

func (e *Error) Error() string {
	return fmt.Sprintf("too many requests (%s): wait %v", e.Kind, e.Wait.Round(time.Second))
}

// Seconds is Wait for headers and options: whole seconds, at least 1.
func (e *Error) Seconds() int { return int((e.Wait + time.Second - 1) / time.Second) }

// InWords is Wait for people.
func (e *Error) InWords() string {
	switch s := e.Seconds(); {
	case s == 1:
		return "a second"
	case s < 60:
		return fmt.Sprintf("%d seconds", s)
	case s <= 90:
		return "a minute"
	default:
		return fmt.Sprintf("%d minutes", (s+59)/60)
	}
}

// GuardOptions of a Guard.
type GuardOptions struct {
	Now   func() time.Time // default time.Now
	Rules map[Kind]Rule    // default Rules; a kind that is not in it has no limit
	// Tell hears of the first refusal of a key since it was last served, with the key. It must not block long.
	Tell func(kind Kind, key string)
	// Count hears of every refusal. It must not block.
	Count func(kind Kind)
}

// Guard holds the limits of a server. A nil Guard has none. It is safe for concurrent use.
type Guard struct {
	now    func() time.Time
	tables map[Kind]*Table
	known  *Table // browsers that accounts were signed in from
	pairs  *Table // people and the installations that they were served in
	tell   func(Kind, string)
	count  func(Kind)
}

// NewGuard makes a Guard.
func NewGuard(o GuardOptions) *Guard {
	g := &Guard{now: o.Now, tables: map[Kind]*Table{}, known: New(Rule{}, 0), pairs: New(Rule{}, 4*MaxKeys), tell: o.Tell, count: o.Count}
	if g.now == nil {
		g.now = time.Now
	}
	if o.Rules == nil {
		o.Rules = Rules()
	}
	for kind, rule := range o.Rules {
		g.tables[kind] = New(rule, 0)
	}
	return g
}

// Allow counts a request; an error is an *Error. The empty key has no limit.
func (g *Guard) Allow(kind Kind, key string) error { return g.ask(kind, key, false) }

// Guess counts a guess, wrong until Succeeded is called.
func (g *Guard) Guess(kind Kind, key string) error { return g.ask(kind, key, true) }

func (g *Guard) ask(kind Kind, key string, guess bool) error {
	if g == nil || key == "" || g.tables[kind] == nil {
		return nil
	}
	wait, first := g.tables[kind].count(key, g.now(), guess)
	if wait <= 0 {
		return nil
	}
	if g.count != nil {
		g.count(kind)
	}
	if first && g.tell != nil {
		g.tell(kind, key)
	}
	return &Error{Kind: kind, Wait: wait}
}

// Succeeded forgets the wrong guesses of a key.
func (g *Guard) Succeeded(kind Kind, key string) {
	if g != nil && g.tables[kind] != nil {
		g.tables[kind].Succeeded(key)
	}
}

// Network counts a request from an address. Loopback and unix sockets are not limited.
func (g *Guard) Network(from netip.Addr) error {
	if !from.IsValid() || from.IsLoopback() {
		return nil
	}
	return g.Allow(Source, SourceOf(from))
}

// Together counts a person and an installation that were not met together before; others are not limited. installation
// is what tells them apart, "" for none.
func (g *Guard) Together(person, installation string) error {
	if g == nil || person == "" || installation == "" {
		return nil
	}
	pair := person + " in " + installation
	if !g.pairs.has(pair) {
		if err := g.Allow(People, installation); err != nil {
			return err
		}
		if err := g.Allow(Copies, person); err != nil {
			return err
		}
	}
	g.pairs.Try(pair, g.now()) // heard of just now
	return nil
}

// Place is where somebody sits down to sign in.
type Place struct {
	Network string // as SourceOf writes it; "" for this machine
	Browser string // what a browser that was signed in from before shows; "" for none
}

// SignIn counts a password for an account. A browser the account was signed in from before is limited on its own; all
// others together as well, so that who guesses from everywhere keeps out nobody at home.
func (g *Guard) SignIn(account string, from Place) error {
	if g == nil {
		return nil
	}
	if g.recognised(account, from) {
		return g.Guess(Account, account+" in "+from.Browser)
	}
	if err := g.Guess(Account, account+" from "+from.Network); err != nil {
		return err
	}
	return g.Allow(Strangers, account)
}

func (g *Guard) recognised(account string, from Place) bool {
	return from.Browser != "" && g.known.has(account+" in "+from.Browser)
}

// SignedIn notes that the password was right, and recognises the browser from then on.
func (g *Guard) SignedIn(account string, from Place) {
	if g == nil {
		return
	}
	g.Succeeded(Account, account+" from "+from.Network)
	g.Succeeded(Account, account+" in "+from.Browser)
	if from.Browser != "" {
		g.known.Try(account+" in "+from.Browser, g.now())
	}
}
