package coapapi

import "time"

// Bounds of the face.
const (
	// SourceRate is how many unprotected requests a source gets answered in SourceWindow. A phone needs two for each
	// token; a flood must not keep a small processor busy with signatures.
	SourceRate   = 20
	SourceWindow = time.Minute
	// UploadRate is how many uploads are opened in SourceWindow, wherever they come from; those of the server are not counted.
	// A signature takes a small processor some 20 ms, so a flood keeps a tenth of it busy.
	UploadRate = 300
	// MaxSources is the number of sources remembered; the one heard longest ago gives way.
	MaxSources = 256
	// MaxUpload is the longest upload: the longest token with nonce and id (RFC 9203 §4.1).
	MaxUpload = 2304

	// EndGrace is how long the association of a session that has ended stays, so that what is under way hears 4.01 before the
	// alert (RFC 9202 §5). It opens nothing: every request is decided by the session.
	EndGrace = time.Second

	// DefaultLifetime of a registration. A third of it is shorter than the 30 seconds after which common address
	// translators forget a UDP mapping through which the server must push.
	DefaultLifetime = 75 * time.Second
	// ExchangeTimeout is when an exchange with the server counts as lost; the transport has retransmitted until then.
	ExchangeTimeout = 30 * time.Second
	// MinPause and MaxPause bound the time between two attempts to register.
	MinPause = time.Second
	MaxPause = 5 * time.Minute
)
