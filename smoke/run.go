package smoke

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebef7166/mesh/manifest"
)

// again is the pause before a step is tried again, and bodyLimit how much of an
// answer is read, in bytes.
const (
	again     = 50 * time.Millisecond
	bodyLimit = 10 << 20
)

// Target is what is checked.
type Target struct {
	Gateway string                                                 // URL
	TLS     *tls.Config                                            // how it is trusted; nil: as the machine does
	Token   func(ctx context.Context, user string) (string, error) // access token of a user
}

// Result is how a step went.
type Result struct {
	Check    string
	Step     string
	Failure  string // "" when it went well
	Skipped  bool   // an earlier step of the check failed
	Attempts int
	Duration time.Duration
}

// Run does the checks, one after another, and returns a result for each step;
// report gets each as soon as it is known.
func Run(ctx context.Context, checks []Check, t Target, report func(Result)) []Result {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = t.TLS
	r := &runner{target: t, tokens: map[string]string{}, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	defer r.client.CloseIdleConnections()
	var results []Result
	for _, c := range checks {
		for _, result := range r.check(ctx, c) {
			report(result)
			results = append(results, result)
		}
	}
	return results
}

type runner struct {
	target Target
	client *http.Client
	tokens map[string]string // by user
}

func (r *runner) check(ctx context.Context, c Check) []Result {
	var results []Result
	captured := map[string]string{}
	failed := false
	for _, step := range c.Steps {
		result := Result{Check: c.Name, Step: step.Name, Skipped: failed}
		if !failed {
			begun := time.Now()
			err := r.step(ctx, step, captured, &result.Attempts)
			result.Duration = time.Since(begun)
			if err != nil {
				result.Failure, failed = err.Error(), true
			}
		}
		results = append(results, result)
	}
	return results
}

// step tries until the answer is as expected or the time is over.
func (r *runner) step(ctx context.Context, s Step, captured map[string]string, attempts *int) error {
	deadline := time.Now().Add(time.Duration(s.Within))
	for {
		*attempts++
		err := r.try(ctx, s, captured)
		if err == nil || ctx.Err() != nil || time.Now().Add(again).After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

func (r *runner) try(ctx context.Context, s Step, captured map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, max(30*time.Second, time.Duration(s.Within)))
	defer cancel()
	req, err := r.request(ctx, s, captured)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if err := s.Expect.hold(resp, body, captured); err != nil {
		return fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
	}
	return s.capture(body, captured)
}

func (r *runner) request(ctx context.Context, s Step, captured map[string]string) (*http.Request, error) {
	body, contentType, err := s.Request.body(captured)
	if err != nil {
		return nil, err
	}
	path, err := expand(s.Request.Path, captured)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, s.Request.method(), r.target.Gateway+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Request.Headers)) {
		value, err := expand(s.Request.Headers[name], captured)
		if err != nil {
			return nil, err
		}
		req.Header.Set(name, value)
	}
	return req, r.authorise(ctx, req, s.As)
}

func (r *runner) authorise(ctx context.Context, req *http.Request, user string) error {
	if user == "" {
		return nil
	}
	if r.tokens[user] == "" {
		token, err := r.target.Token(ctx, user)
		if err != nil {
			return fmt.Errorf("token of %s: %w", user, err)
		}
		r.tokens[user] = token
	}
	req.Header.Set("Authorization", "Bearer "+r.tokens[user])
	return nil
}

func (q Request) method() string {
	switch {
	case q.Method != "":
		return strings.ToUpper(q.Method)
	case q.JSON != nil || q.Body != "":
		return http.MethodPost
	}
	return http.MethodGet
}

func (q Request) body(captured map[string]string) (data []byte, contentType string, err error) {
	if q.JSON == nil {
		text, err := expand(q.Body, captured)
		return []byte(text), "", err
	}
	filled, err := fill(q.JSON, captured)
	if err != nil {
		return nil, "", err
	}
	data, err = json.Marshal(filled)
	return data, "application/json", err
}

func expand(text string, captured map[string]string) (string, error) {
	return manifest.Expand(text, func(name string) (string, bool) { v, ok := captured[name]; return v, ok })
}

// fill expands every string in a value of JSON.
func fill(v any, captured map[string]string) (any, error) {
	switch v := v.(type) {
	case string:
		return expand(v, captured)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			filled, err := fill(item, captured)
			if err != nil {
				return nil, err
			}
			out[i] = filled
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			filled, err := fill(item, captured)
			if err != nil {
				return nil, err
			}
			out[key] = filled
		}
		return out, nil
	}
	return v, nil
}

// hold reports in what the answer is not as expected.
func (e Expect) hold(resp *http.Response, body []byte, captured map[string]string) error {
	if resp.StatusCode != e.Status {
		return fmt.Errorf("status %d, expected %d: %s", resp.StatusCode, e.Status, short(body))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		if got := resp.Header.Get(name); got != e.Headers[name] {
			return fmt.Errorf("header %s is %q, expected %q", name, got, e.Headers[name])
		}
	}
	if e.Body != "" && !strings.Contains(string(body), e.Body) {
		return fmt.Errorf("the answer does not contain %q: %s", e.Body, short(body))
	}
	for _, path := range slices.Sorted(maps.Keys(e.JSON)) {
		if err := holdPath(body, path, e.JSON[path], captured); err != nil {
			return err
		}
	}
	return nil
}

func holdPath(body []byte, path string, expected any, captured map[string]string) error {
	want, err := fill(expected, captured)
	if err != nil {
		return err
	}
	got, err := lookup(body, path)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(normal(got), normal(want)) {
		return fmt.Errorf("%s is %s, expected %s", path, text(got), text(want))
	}
	return nil
}

func (s Step) capture(body []byte, captured map[string]string) error {
	for name, path := range s.Capture {
		value, err := lookup(body, path)
		if err != nil {
			return fmt.Errorf("capture %s: %w", name, err)
		}
		if str, ok := value.(string); ok {
			captured[name] = str
		} else {
			captured[name] = text(value)
		}
	}
	return nil
}

// lookup follows a dotted path through JSON: a number is an index in a list.
func lookup(body []byte, path string) (any, error) {
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		return nil, fmt.Errorf("the answer is no JSON: %s", short(body))
	}
	for _, step := range strings.Split(path, ".") {
		next, ok := descend(value, step)
		if !ok {
			return nil, fmt.Errorf("the answer has no %s: %s", path, short(body))
		}
		value = next
	}
	return value, nil
}

func descend(value any, step string) (any, bool) {
	switch v := value.(type) {
	case map[string]any:
		next, ok := v[step]
		return next, ok
	case []any:
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(v) {
			return nil, false
		}
		return v[i], true
	}
	return nil, false
}

// normal goes through JSON, so that numbers compare whatever they were read
// from.
func normal(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		return v
	}
	return out
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

func short(body []byte) string {
	s := strings.TrimSpace(strings.ToValidUTF8(string(body), "\uFFFD"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
