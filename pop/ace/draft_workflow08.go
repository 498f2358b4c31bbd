package ace

// Code points of draft-ietf-ace-workflow-and-params-08 §14. All are placeholders that moved between revisions before;
// they may stand nowhere else. updated_rights has no number yet: it is refused wherever it appears.
const (
	paramTokenUpload   Parameter = 49
	paramTokenHash     Parameter = 50 // a byte string; the draft's "unsigned integer" is a slip
	paramToRS          Parameter = 51
	paramFromRS        Parameter = 52
	paramRSCnf2        Parameter = 53
	paramAudience2     Parameter = 54
	paramAnchorCnf     Parameter = 55
	paramTokenSeriesID Parameter = 56 // not with OSCORE, whose id names the series
)

// Values of token_upload in a request (§3.1): what the client wants back after a successful upload.
const (
	UploadWantNothing uint = 0 // neither token nor hash
	UploadWantHash    uint = 1 // token_hash
	UploadWantToken   uint = 2 // access_token
)

// Values of token_upload in a response. The draft's text twice calls 2 "uploaded" but defines it as not uploaded; we
// follow the definition, and send token_hash and from_rs with 0 only.
const (
	UploadDone      uint = 0
	UploadFailed    uint = 1
	UploadNewSeries uint = 2 // a new series was begun on the fly, its token is not uploaded
)

// ace-error among the problem details of RFC 9290, and what is in it.
const (
	detailACEError = 2 // Custom Problem Detail Key
	errorCodeKey   = 0 // error-code in an ace-error
)
