package devgateway

import (
	"encoding/json"
	"time"
)

// plainRoute is a Route without its JSON methods.
type plainRoute Route

type routeJSON struct {
	plainRoute
	Seconds float64 `json:"timeout,omitempty"`
}

// MarshalJSON writes the timeout as seconds.
func (r Route) MarshalJSON() ([]byte, error) {
	return json.Marshal(routeJSON{plainRoute(r), r.Timeout.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Route) UnmarshalJSON(body []byte) error {
	var in routeJSON
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	*r = Route(in.plainRoute)
	r.Timeout = time.Duration(in.Seconds * float64(time.Second))
	return nil
}

type retriesJSON struct {
	Attempts int     `json:"attempts"`
	Codes    []int   `json:"codes,omitempty"`
	Backoff  float64 `json:"backoff,omitempty"`
}

// MarshalJSON writes the back-off as seconds.
func (r Retries) MarshalJSON() ([]byte, error) {
	return json.Marshal(retriesJSON{r.Attempts, r.Codes, r.Backoff.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Retries) UnmarshalJSON(body []byte) error {
	var in retriesJSON
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	*r = Retries{in.Attempts, in.Codes, time.Duration(in.Backoff * float64(time.Second))}
	return nil
}

// IsZero reports that nothing is sent again.
func (r Retries) IsZero() bool { return r.Attempts == 0 }

type limitJSON struct {
	Requests int     `json:"requests"`
	Per      float64 `json:"per"`
}

// MarshalJSON writes the time as seconds.
func (l Limit) MarshalJSON() ([]byte, error) {
	return json.Marshal(limitJSON{l.Requests, l.Per.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Limit) UnmarshalJSON(body []byte) error {
	var in limitJSON
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	*l = Limit{in.Requests, time.Duration(in.Per * float64(time.Second))}
	return nil
}
