package gocoap

import (
	"log/slog"
	"runtime/debug"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
)

// Serve makes a handler for go-coap's servers of one of this kit, as a rule a *coapsec.Security. It goes outside every
// mux.Router: a router matches the path, which OSCORE hides. A panic in h costs the one request.
func Serve(h coapsec.Handler) mux.Handler { return server{h} }

type server struct{ handler coapsec.Handler }

// ServeCOAP implements mux.Handler.
func (s server) ServeCOAP(w mux.ResponseWriter, r *mux.Message) {
	fill(w.Message(), s.answer(w.Conn(), r))
}

func (s server) answer(peer mux.Conn, r *mux.Message) (response message.Message) {
	defer func() {
		if cause := recover(); cause != nil {
			slog.Error("handler panicked", "peer", addressOf(peer), "cause", cause, "stack", string(debug.Stack()))
			response = message.Message{Code: codes.InternalServerError}
		}
	}()
	request, err := copyOf(r.Message)
	if err != nil {
		return message.Message{Code: codes.RequestEntityTooLarge}
	}
	response = s.handler.ServeCoAP(r.Context(), &coapsec.Request{Message: request, Peer: coapsec.Peer{Address: addressOf(peer)}})
	if response.Code == codes.Empty { // go-coap would leave a request without a code unanswered
		response = message.Message{Code: codes.InternalServerError}
	}
	return response
}
