package playintegrity

import "errors"

// What Verify refuses, by name. Each text may go to the audit log: it holds nothing that was sent.
var (
	ErrKeys         = errors.New("no keys for verdicts of Google Play are configured")
	ErrMalformed    = errors.New("verdict of Google Play is malformed")
	ErrEncryption   = errors.New("verdict is not encrypted with the configured key")
	ErrSignature    = errors.New("verdict is not signed with the configured key")
	ErrBinding      = errors.New("verdict is for another challenge or another key")
	ErrStale        = errors.New("verdict is too old: ask Google Play for a new one")
	ErrFuture       = errors.New("verdict lies in the future: one of the clocks is wrong")
	ErrTesting      = errors.New("verdict is an answer that was set up for testing")
	ErrApp          = errors.New("package or its signing certificate is not allowed")
	ErrUnrecognized = errors.New("app is not as Google Play distributes it")
	ErrUnevaluated  = errors.New("app was not judged, because something that is needed for that is missing on the phone")
	ErrDevice       = errors.New("phone has no integrity that Google Play knows of")
	ErrVirtual      = errors.New("app runs in an emulator")
)
