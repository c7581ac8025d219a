package devgateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/ebef7166/mesh/internal/relay"
)

// switchProtocols makes a client's connection and an instance's one, until both have
// said all, one of them is gone, or the gateway ends it (RFC 9110, 15.2.2).
func (x *exchange) switchProtocols(r *http.Request, res *http.Response) {
	defer res.Body.Close()
	server, ok := res.Body.(io.ReadWriteCloser)
	if wanted, got := upgradeOf(r.Header), upgradeOf(res.Header); !ok || wanted == "" || !strings.EqualFold(wanted, got) {
		x.proxyFailed(r, fmt.Errorf("it switched to the protocol %q, and %q was asked for", res.Header.Get("Upgrade"), wanted))
		return
	}
	client, buffered, err := http.NewResponseController(&x.w).Hijack()
	if err != nil {
		x.proxyFailed(r, errors.Join(errors.New("the client's connection cannot switch protocols"), err))
		return
	}
	defer client.Close()
	add(x.w.Header(), res.Header)
	res.Header, res.Body = x.w.Header(), nil // its head alone is written
	if res.Write(buffered) == nil && buffered.Flush() == nil {
		x.w.code = res.StatusCode
		relay.Join(&x.life, client, server)
	}
}
