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
}

// send chooses an instance for a request, and another one when the first does not
// answer and the request may be sent again.
func (x *exchange) send(req *http.Request) (*http.Response, error) {
	g := x.g
	s := &sending{g: g, x: x, retries: x.retries(req)}
	x.sent = keepOpen(req, s.retries.Attempts > 0)
	if s.retries.Attempts > 0 {
		g.deposit(x.callee)
	}
	var refused error
	for {
		e := s.next(req.Context())
		if e == nil {
			return nil, g.nobody(req.Context(), x.callee, refused)
		}
		res, err := s.ask(e, req)
		if err != nil && isDial(err) && x.sent.unread() {
			s.refused, refused = append(s.refused, e), err
			continue
		}
		again := s.again(req, res, err)
		if again == nil {
			return res, err
		}
		if s.failed = append(s.failed, e); res != nil {
			s.discard(res)
		}
		req = again
	}
}

// next picks an instance, one that has not failed if there is one.
func (s *sending) next(ctx context.Context) *endpoint {
	if len(s.failed) > 0 {
		if p := s.g.poolOf(s.x.callee); p != nil {
			if e := pick(p.set.Load().list, slices.Concat(s.refused, s.failed)); e != nil {
				return e
			}
		}
	}
	return s.g.await(ctx, s.x.callee, s.refused)
}

// ask sends the request to an instance, which counts it until the answer is over.
func (s *sending) ask(e *endpoint, req *http.Request) (*http.Response, error) {
	s.x.endpoint, s.x.held = e, true
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
	if again == nil || !s.g.withdraw(s.x.callee) || !sleep(req.Context(), s.retries.pause(s.count)) {
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
	switch {
	case s.x.timedOut.Load():
		return errors.New("no answer within " + s.x.route.Timeout.String())
	case ctx.Err() != nil || s.x.sent.atFault() || errors.As(err, &tooLarge):
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
		if isGRPC(res.Header) && res.Header.Get("Grpc-Status") == grpcUnavailable {
			return errors.New("it answered UNAVAILABLE")
		}
	}
	return nil
}
