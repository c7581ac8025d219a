package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// demo is the shop, written and run by the real binary.
type demo struct {
	t       *testing.T
	dir     string
	gateway string
	as      func(*exec.Cmd) // makes a command another user's; nil: ours
}

// startDemo is what a newcomer does: mesh demo.
func startDemo(t *testing.T) *demo {
	t.Helper()
	if testing.Short() {
		t.Skip("builds four services")
	}
	d := &demo{t: t, dir: filepath.Join(t.TempDir(), "shop")}
	t.Cleanup(func() { _, _ = d.mesh("down") })
	if out, err := d.run("mesh", "demo", d.dir, "-d", "--gateway", "127.0.0.1:0"); err != nil {
		t.Fatalf("mesh demo: %v\n%s", err, out)
	}
	out, err := d.mesh("status", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var s struct{ Gateway struct{ URL string } }
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	d.gateway = s.Gateway.URL
	return d
}

func (d *demo) run(name string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	if d.as != nil {
		d.as(cmd)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (d *demo) mesh(args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(bin, "mesh"), append([]string{"-C", d.dir}, args...)...)
	if d.as != nil {
		d.as(cmd)
	}
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

func (d *demo) token(user string) string {
	d.t.Helper()
	token, err := d.mesh("token", "--user", user)
	if err != nil {
		d.t.Fatalf("token: %v", err)
	}
	return token
}

// caller is somebody with a token; call is one request of theirs, in JSON.
type caller interface {
	call(method string, in map[string]any) (out map[string]any, code string)
}

// overHTTP speaks HTTP/1.1 and JSON, as curl does.
type overHTTP struct {
	*demo
	token string
}

func (c overHTTP) call(method string, in map[string]any) (map[string]any, string) {
	c.t.Helper()
	body, _ := json.Marshal(in)
	req, err := http.NewRequest(http.MethodPost, c.gateway+"/"+method, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		c.t.Fatalf("%s: %s: %s", method, resp.Status, data)
	}
	if resp.StatusCode != http.StatusOK {
		code, _ := out["code"].(string)
		if code == "" {
			code = fmt.Sprint(resp.StatusCode)
		}
		return out, code
	}
	return out, ""
}

// overGRPC speaks gRPC: HTTP/2 without TLS, with frames and trailers. Messages
// are those of the service's own contract, as JSON, which gRPC calls a codec.
type overGRPC struct {
	*demo
	token string
}

func (c overGRPC) call(method string, in map[string]any) (map[string]any, string) {
	c.t.Helper()
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	client := connect.NewClient[structpb.Struct, structpb.Struct](&http.Client{Transport: transport}, c.gateway+"/"+method,
		connect.WithGRPC(), connect.WithCodec(jsonCodec{}))
	message, err := structpb.NewStruct(in)
	if err != nil {
		c.t.Fatal(err)
	}
	req := connect.NewRequest(message)
	req.Header().Set("Authorization", "Bearer "+c.token)
	resp, err := client.CallUnary(context.Background(), req)
	var failed *connect.Error
	if errors.As(err, &failed) {
		return nil, failed.Code().String()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.Msg.AsMap(), ""
}

// jsonCodec is gRPC's application/grpc+json.
type jsonCodec struct{}

func (jsonCodec) Name() string { return "json" }
func (jsonCodec) Marshal(v any) ([]byte, error) {
	return protojson.Marshal(v.(*structpb.Struct))
}
func (jsonCodec) Unmarshal(data []byte, v any) error {
	return protojson.Unmarshal(data, v.(*structpb.Struct))
}

const (
	createUser    = "profile.v1.ProfileService/CreateUser"
	getUser       = "profile.v1.ProfileService/GetUser"
	deleteUser    = "profile.v1.ProfileService/DeleteUser"
	addItem       = "cart.v1.CartService/AddItem"
	getCart       = "cart.v1.CartService/GetCart"
	checkout      = "cart.v1.CartService/Checkout"
	getInvoice    = "billing.v1.BillingService/GetInvoice"
	listInvoices  = "billing.v1.BillingService/ListInvoices"
	notifications = "notifications.v1.NotificationsService/ListNotifications"
)

// at follows a dotted path.
func at(v any, path string) any {
	for _, step := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// soon asks until path is want: the contract says within a second; a busy
// machine gets more.
func soon(t *testing.T, c caller, method string, in map[string]any, path string, want any) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		out, code := c.call(method, in)
		if at(out, path) == want {
			return out
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s never was %v: %v %s", method, path, want, out, code)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func must(t *testing.T, c caller, method string, in map[string]any) map[string]any {
	t.Helper()
	out, code := c.call(method, in)
	if code != "" {
		t.Fatalf("%s: %s %v", method, code, out)
	}
	return out
}

func refused(t *testing.T, c caller, method string, in map[string]any, want string) {
	t.Helper()
	if out, code := c.call(method, in); code != want {
		t.Errorf("%s: got %q %v, want %s", method, code, out, want)
	}
}

// TestDemo is the demo's flow through the gateway, over HTTP with JSON and over
// gRPC: sign in, add to the cart, check out with a bad card, be told, have the
// cart back; check out with a good one, be invoiced, be told.
func TestDemo(t *testing.T) {
	d := startDemo(t)
	t.Run("seed", d.seed)
	t.Run("http", func(t *testing.T) { flow(t, overHTTP{d, d.token("alice")}, "alice", overHTTP{d, d.token("admin")}) })
	t.Run("grpc", func(t *testing.T) { flow(t, overGRPC{d, d.token("bob")}, "bob", overGRPC{d, d.token("admin")}) })
	t.Run("stream", d.stream)
	t.Run("refusals", d.refusals)
	t.Run("card", d.cardIsNowhere)
	t.Run("smoke", func(t *testing.T) {
		out, err := d.run("mesh", "-C", d.dir, "smoke", "--junit", filepath.Join(d.dir, "junit.xml"))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if _, err := os.Stat(filepath.Join(d.dir, "junit.xml")); err != nil {
			t.Error(err)
		}
	})
	t.Run("generated code is current", func(t *testing.T) {
		if out, err := d.run("mesh", "-C", d.dir, "generate", "--check"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// seed runs a task that is not part of mesh up, twice: it has the same effect.
func (d *demo) seed(t *testing.T) {
	for _, isNew := range []string{`"user":"bob","new":true`, `"user":"bob","new":false`} {
		if out, err := d.mesh("run", "seed"); err != nil || !strings.Contains(out, isNew) {
			t.Errorf("want %s: %v\n%s", isNew, err, out)
		}
		out := must(t, overHTTP{d, d.token("admin")}, getUser, map[string]any{"userId": "bob"})
		if at(out, "user.email") != "bob@example.test" {
			t.Errorf("bob's profile: %v", out)
		}
	}
	if out, err := d.mesh("run", "cart"); err == nil {
		t.Errorf("a service was run as a task: %s", out)
	}
}

func flow(t *testing.T, c caller, user string, admin caller) {
	_, _ = c.call(deleteUser, map[string]any{})
	soon(t, c, getCart, map[string]any{}, "cart", nil)
	refused(t, c, addItem, map[string]any{"sku": "tea", "quantity": 1, "unitPriceCents": 350}, "failed_precondition")

	out := must(t, c, createUser, map[string]any{"name": user, "email": user + "@example.test"})
	if at(out, "user.id") != user {
		t.Errorf("the id is not the subject: %v", out)
	}
	refused(t, c, createUser, map[string]any{"name": user, "email": user + "@example.test"}, "already_exists")
	out = must(t, c, addItem, map[string]any{"sku": "tea", "quantity": 2, "unitPriceCents": 350})
	if at(out, "cart.totalCents") != 700.0 || at(out, "cart.status") != "CART_STATUS_OPEN" || at(out, "cart.items.0.sku") != "tea" {
		t.Errorf("cart: %v", out)
	}
	cart := map[string]any{"cartId": at(out, "cart.id")}

	out = must(t, c, checkout, map[string]any{"cardNumber": "4000000000000010"})
	if at(out, "cart.status") != "CART_STATUS_CHECKED_OUT" {
		t.Errorf("checked out: %v", out)
	}
	soon(t, c, getInvoice, cart, "invoice.status", "INVOICE_STATUS_DECLINED")
	out = soon(t, c, getCart, cart, "cart.status", "CART_STATUS_OPEN")
	if at(out, "cart.items.0.quantity") != 2.0 {
		t.Errorf("the compensated cart lost its items: %v", out)
	}
	soon(t, c, notifications, map[string]any{}, "notifications.0.kind", "billing.declined")

	must(t, c, checkout, map[string]any{"cardNumber": "4242424242424242"})
	soon(t, c, getCart, cart, "cart.status", "CART_STATUS_PAID")
	soon(t, c, getInvoice, cart, "invoice.status", "INVOICE_STATUS_PAID")
	out = soon(t, c, listInvoices, map[string]any{}, "invoices.0.status", "INVOICE_STATUS_PAID")
	if at(out, "invoices.1.status") != "INVOICE_STATUS_DECLINED" || at(out, "invoices.0.amountCents") != 700.0 {
		t.Errorf("invoices: %v", out)
	}
	soon(t, c, notifications, map[string]any{}, "notifications.0.kind", "billing.paid")

	out = must(t, admin, notifications, map[string]any{"userId": user})
	if at(out, "notifications.0.userId") != user {
		t.Errorf("an admin is told %v", out)
	}
	refused(t, c, notifications, map[string]any{"userId": "somebody"}, "permission_denied")
	out = must(t, admin, getUser, map[string]any{"userId": user})
	if at(out, "user.id") != user {
		t.Errorf("an admin sees %v", out)
	}
	refused(t, c, getUser, map[string]any{"userId": "somebody"}, "permission_denied")
}

// stream holds that a notification comes as a server-sent event while it
// happens.
func (d *demo) stream(t *testing.T) {
	alice := overHTTP{d, d.token("alice")}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.gateway+"/notifications/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+alice.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || !strings.HasPrefix(got, "text/event-stream") {
		t.Fatalf("%s %s", resp.Status, got)
	}
	must(t, alice, addItem, map[string]any{"sku": "coffee", "quantity": 1, "unitPriceCents": 900})
	must(t, alice, checkout, map[string]any{"cardNumber": "4242424242424242"})
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if ok && strings.Contains(data, "9.00") {
			var n map[string]any
			if err := json.Unmarshal([]byte(data), &n); err != nil || n["userId"] != "alice" {
				t.Errorf("%s: %v", data, err)
			}
			return
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
}

// refusals are what the gateway answers without a good token.
func (d *demo) refusals(t *testing.T) {
	refused(t, overHTTP{d, ""}, getUser, nil, "401")
	refused(t, overHTTP{d, "nonsense"}, getUser, nil, "401")
	refused(t, overGRPC{d, "nonsense"}, getUser, nil, "unauthenticated")
	resp, err := http.Get(d.gateway + "/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	other := startedBy(t, d, "alice")
	refused(t, overHTTP{d, d.token("bob")}, getCart, map[string]any{"cartId": other}, "permission_denied")
}

// startedBy is the id of a cart of user's.
func startedBy(t *testing.T, d *demo, user string) any {
	t.Helper()
	c := overHTTP{d, d.token(user)}
	soon(t, c, addItem, map[string]any{"sku": "milk", "quantity": 1, "unitPriceCents": 100}, "cart.status", "CART_STATUS_OPEN")
	return at(must(t, c, getCart, map[string]any{}), "cart.id")
}

// cardIsNowhere looks for a card's number in everything that was written.
func (d *demo) cardIsNowhere(t *testing.T) {
	number := regexp.MustCompile("4000000000000010|4242424242424242")
	err := filepath.WalkDir(filepath.Join(d.dir, ".mesh"), func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.Contains(path, "/bin/") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err == nil && number.Match(data) {
			t.Errorf("a card's number is in %s", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
