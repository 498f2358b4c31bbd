package appattest

// Bounds of evidence. Each is checked before what it bounds is parsed.
const (
	MaxObject    = 16 << 10 // bytes of an attestation object; iOS 27 sends 6 KiB, of which the receipt is 4
	MaxAssertion = 1 << 10  // bytes of an assertion; iOS 14 sends 140, iOS 27 some 60 more of extensions

	maxCertificate = 4 << 10 // bytes; leaves have grown from 0.8 to 1 KiB since iOS 14
	maxAuthData    = 512     // bytes of authenticator data; an attestation of iOS 27 has 226
)
