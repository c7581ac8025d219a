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
