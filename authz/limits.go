package authz

import "time"

// Bounds of the token service, each with its reason.
const (
	CodeLife       = 60 * time.Second // D20: a code travels once from browser to app
	LoginLife      = 12 * time.Hour   // a browser session; nobody should sign in twice in one evening
	TokenLife      = time.Hour        // tokens bounded by exp; an app asks again, and a revocation missed costs an hour
	HoldLife       = 24 * time.Hour   // how long a phone may hold an exi token before showing it (OFF-8)
	DefaultEXI     = 8 * time.Hour    // exi of a device whose record names none: a working day
	MaxEXI         = 366 * 24 * time.Hour
	UploadTime     = 5 * time.Second     // D18: the phone waits for the lock no longer than this
	AuditTime      = 5 * time.Second     // for one entry whose request may have gone; the store answers in milliseconds
	RefreshLife    = 90 * 24 * time.Hour // of a refresh token and its successors; then a person says yes again (ASVS 10.4.8)
	DeviceCodeLife = 10 * time.Minute    // RFC 8628 §6.1: long enough to find one's phone
	DevicePace     = 5 * time.Second     // RFC 8628 §3.2
	PushedLife     = 60 * time.Second    // of a request_uri until the browser brings it (RFC 9126 §2.2, FAPI 2.0)
	ThinkTime      = 10 * time.Minute    // and then, while a person signs in and thinks
	RefreshPause   = 2 * time.Second     // D19: a second use within it is the same moment, not a lost answer
	RefreshGrace   = 30 * time.Second    // D19: how long a lost answer to a refresh can be asked for again
	ReplayGrace    = time.Minute         // D20: a second redemption within it may be a retransmission
	UploadsGrant   = 6                   // D18: uploads per grant and hour
	UploadsDevice  = 60                  // D18: uploads per device and hour
	TellTime       = 20 * time.Second    // who revokes a grant tells the device himself; after that the outbox does

	KeyEvery    = 90 * 24 * time.Hour // from one signing key to the next: a stolen one that nobody notices is worth a season
	MinKeyEvery = 14 * 24 * time.Hour // so that no more than maxPublished are published at a time
	KeySetLife  = 5 * time.Minute     // how long verifiers may keep the published keys
	KeyReload   = 2 * time.Second     // how soon a server notices what another process did to the keys
	KeyLead     = 10 * time.Minute    // from publication to the first signature at least: KeySetLife, KeyReload and clocks that differ
	// keyKeep is from a key's last signature to its leaving the published set: the longest life of a token, and clocks that differ.
	keyKeep      = HoldLife + MaxEXI + time.Hour
	maxPublished = 30 // of the 32 that a reader takes

	InviteLife    = 24 * time.Hour      // of an invitation to register: a day to hand it over and to use it
	MaxInviteLife = 30 * 24 * time.Hour // a longer one is a password that nobody remembers having given away
	MaxInviteUses = 1000                // a fleet that is set up at once

	SeriesLife = 30 * 24 * time.Hour // how long a possession key may get new tokens: whoever has learnt it is rid of it then

	clientIDSize    = 16   // random bytes of a client id made here: never one that was there before
	materialIDSize  = 8    // bytes; D7 allows 1–8, and it must be unique among all our materials (RFC 9203 §3.2)
	referenceSecret = 32   // bytes of randomness in a token that says nothing itself
	secretSize      = 16   // bytes of a possession key made here
	userCodeLength  = 8    // letters of 20
	maxDetails      = 2048 // bytes of authorization_details, as in pop/ace
	minSecretBytes  = 32   // bytes of randomness in a client secret
	maxName         = 64   // bytes of a client id, user or device name
	maxScopeWords   = 1024 // bytes of scope that pop/ace writes; longer rights are answered as AIF
)
