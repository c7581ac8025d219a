package devgateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
)

// sending is one request on its way to an instance.
type sending struct {
	g       *Gateway
	x       *exchange
	retries Retries
	refused []*endpoint // that took no connection
	failed  []*endpoint // that took it and did not answer well; asked again if nobody else is there
	count   int         // retries so far

	broken error       // why its first connection ended without an answer
	there  []*endpoint // who was there then: see next
}

// send chooses an instance for a request, and another one when the first does not
// answer and the request may be sent again.
func (x *exchange) send(req *http.Request) (*http.Response, error) {
	g := x.g
	s := &sending{g: g, x: x, retries: x.retries(req)}
	x.sent = keepOpen(req, s.retries.Attempts > 0)
	if x.sent != nil && isShort(req) {
		if err := x.sent.fetch(req); err != nil {
			return nil, err
		}
	}
	if s.retries.Attempts > 0 {
		g.deposit(x.callee)
	}
	var refused error
	for {
		e := s.next(req.Context())
		if e == nil {
			return nil, s.gaveUp(req.Context(), refused)
		}
		res, err := s.ask(e, req)
		if unseen := x.unseen(req, err); unseen != nil {
			s.refused, refused, req = append(s.refused, e), err, unseen
			continue
		}
		again := s.again(req, res, err)
		if again == nil {
			return res, err
		}
		if res != nil {
			s.discard(res)
		}
		req = again
	}
}

// unseen is the request for another instance where this one has not seen a byte of it:
// a connection was refused, and none has broken just before. Else it is nil.
func (x *exchange) unseen(req *http.Request, err error) *http.Request {
	switch {
	case err == nil || !isDial(err) || x.written.Load():
		return nil
	case x.sent.unread():
		return req
	}
	return x.sent.again(req)
}

// next picks an instance, one that has not failed if there is one.
//
// A request whose connection ended may be what ended the instance. Those that were
// there then may have it too, but none that has been started since: one request
// would end a service as often as it is sent, up to its limit of starts.
func (s *sending) next(ctx context.Context) *endpoint {
	if e := s.fresh(); e != nil {
		return e
	}
	if s.broken != nil {
		return pick(s.there, s.refused)
	}
	return s.g.await(ctx, s.x.callee, s.refused)
}

// fresh picks one that has not failed, where another has.
func (s *sending) fresh() *endpoint {
	if len(s.failed) == 0 {
		return nil
	}
	candidates := s.there
	if s.broken == nil {
		candidates = s.g.endpoints(s.x.callee)
	}
	return pick(candidates, slices.Concat(s.refused, s.failed))
}

// remember notes that the instance asked did not answer, or not well.
func (s *sending) remember(err error) {
	s.failed = append(s.failed, s.x.endpoint)
	if err != nil && s.broken == nil {
		s.broken, s.there = err, s.g.endpoints(s.x.callee)
	}
}

// gaveUp says why nobody is left to ask.
func (s *sending) gaveUp(ctx context.Context, refused error) error {
	if s.broken != nil {
		return s.broken
	}
	return s.g.nobody(ctx, s.x.callee, refused)
}

// ask sends the request to an instance, which counts it until the answer is over.
func (s *sending) ask(e *endpoint, req *http.Request) (*http.Response, error) {
	s.x.endpoint, s.x.held = e, true
	s.x.written.Store(false)
	req.URL.Scheme, req.URL.Host = e.scheme(), e.Addr
	res, err := s.x.roundTrip(e, req)
	s.g.judge(s.x.callee, e, s.verdict(req.Context(), res, err))
	if err != nil {
		s.letGo()
	}
	return res, err
}

func (s *sending) letGo() {
	s.x.endpoint.release()
	s.x.held = false
}

// again is the request to be sent once more, or nil: there was an answer, or it may
// not be, or too much is sent again already.
func (s *sending) again(req *http.Request, res *http.Response, err error) *http.Request {
	if s.count >= s.retries.Attempts || !s.retries.wants(res, err) || req.Context().Err() != nil || s.x.sent.atFault() {
		return nil
	}
	again := s.x.sent.again(req)
	if again == nil || !s.g.withdraw(s.x.callee) {
		return nil
	}
	s.remember(err)
	if !sleep(req.Context(), s.retries.pause(s.count)) {
		return nil
	}
	s.count++
	s.x.tries = s.count
	return again
}

// discard gives up an answer, whose connection may be used again if there is little
// left of it.
func (s *sending) discard(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	res.Body.Close()
	s.letGo()
}

// verdict is what a request says of the instance that it was sent to: nil, or why
// the instance was not up to it. Its own errors (500) say nothing: another instance
// has the same ones.
func (s *sending) verdict(ctx context.Context, res *http.Response, err error) error {
	if err == nil {
		return badAnswer(res)
	}
	var tooLarge *http.MaxBytesError
	var strange *notSpoken
	switch {
	case s.x.late():
		return errNoVerdict
	case s.x.timedOut.Load():
		return errors.New("no answer within " + s.x.route.Timeout.String())
	case ctx.Err() != nil || s.x.sent.atFault() || errors.As(err, &tooLarge) || errors.As(err, &strange):
		return errNoVerdict
	}
	return err
}

// errNoVerdict: what went wrong was not the instance.
var errNoVerdict = errors.New("not the instance")

func badAnswer(res *http.Response) error {
	switch res.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return errors.New("it answered " + res.Status)
	case http.StatusOK:
		if isGRPC(res.Header) {
			return badStatus(res.Header.Get("Grpc-Status"))
		}
	}
	return nil
}

// badStatus looks at the status of a gRPC call, which has none until its end.
func badStatus(status string) error {
	switch status {
	case grpcUnavailable:
		return errors.New("it answered UNAVAILABLE")
	case "":
		return errNoVerdict
	}
	return nil
}

// judgeTrailer tells what the end of a gRPC call says of the instance.
func (x *exchange) judgeTrailer(res *http.Response) {
	if isGRPC(res.Header) && res.Header.Get("Grpc-Status") == "" && !x.ended.Load() {
		x.g.judge(x.callee, x.endpoint, badStatus(res.Trailer.Get("Grpc-Status")))
	}
}
