package gatt

import "time"

// Bounds of one link.
const (
	// DefaultMTU is ATT_MTU before it is exchanged (Core Vol 3, Part G §5.2.1): 20 bytes of value per PDU.
	DefaultMTU = 23
	// MaxMTU lets a whole value travel in one Prepare Write; a larger ATT_MTU gains nothing.
	MaxMTU = MaxValue + prepareHeader
	// MaxValue is the longest attribute value (Core Vol 3, Part F §3.2.9) and therefore the longest message.
	MaxValue = 512
	// DefaultTimeout is the attribute transaction timeout (Core Vol 3, Part F §3.3.3).
	DefaultTimeout = 30 * time.Second
	// MaxRequests bounds requests of one link being handled or answered at once; the next ones get 5.03. A central
	// never has more exchanges open.
	MaxRequests = 8

	maxRefusals    = 8 // queued 5.03 answers; a flood beyond that gets no answer at all
	maxIndications = 4 // indications not yet taken; one is outstanding at a time, the rest is tolerance
	tokenSize      = 4 // bytes; the link is point to point, so tokens need be unique, not unguessable
)

// Bytes that are not value in the PDUs that carry values.
const (
	valueHeader   = 3 // opcode, handle: Write Request, Handle Value Indication
	prepareHeader = 5 // opcode, handle, offset: Prepare Write Request and Response
	blobHeader    = 1 // opcode: Read Blob Response
)
