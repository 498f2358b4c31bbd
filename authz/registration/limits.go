package registration

// Bounds of a client's metadata, each with its reason. The whole is bounded by ace.MaxMessage.
const (
	maxName         = 64   // bytes of a name that people read on a page
	maxRedirectURIs = 16   // an app's platforms and its test addresses
	maxRedirectURI  = 2048 // bytes, as pop/ace reads in a request
	maxScope        = 1024 // bytes of all scope words, as pop/ace reads in a request
	maxList         = 16   // grant types and response types; there are far fewer
	maxText         = 256  // bytes of any other text
	maxSecret       = 512  // bytes of client_secret, as pop/ace reads in a request
)
