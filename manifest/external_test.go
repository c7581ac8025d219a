package manifest

import "testing"

func TestExternalURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9000":                 "http://127.0.0.1:9000",
		"localhost:9000":                 "http://localhost:9000",
		"[::1]:9000":                     "http://[::1]:9000",
		"http://10.0.0.7:80/":            "http://10.0.0.7:80",
		"9000":                           "",
		":9000":                          "",
		"127.0.0.1":                      "",
		"127.0.0.1:0":                    "",
		"127.0.0.1:http":                 "",
		"127.0.0.1:70000":                "",
		"https://a.test:443":             "",
		"http://a.test:1/x":              "",
		"http://u:p@a.test:1":            "",
		"http://a.test:1?x=y":            "",
		"http://a.test:1 http://b.test:": "",
	} {
		got, err := ExternalURL(address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q %v, want %q", address, got, err, want)
		}
	}
}

// TestKeepsPort holds that mesh does not listen where the IDE is about to.
func TestKeepsPort(t *testing.T) {
	for url, want := range map[string]bool{
		"":                      true,
		"http://127.0.0.1:9000": false,
		"http://localhost:9000": false,
		"http://[::1]:9000":     false,
		"http://127.0.0.1:9001": true,
		"http://10.0.0.7:9000":  true,
	} {
		if got := (&Service{Port: 9000, URL: url}).KeepsPort(); got != want {
			t.Errorf("%q: %v, want %v", url, got, want)
		}
	}
	if (&Service{}).KeepsPort() {
		t.Error("kept a port that nobody fixed")
	}
}

// TestSelectExternal holds that a service which somebody else runs is part of the
// run, with what it calls, whatever else was named.
func TestSelectExternal(t *testing.T) {
	ws := loaded(t, shop)
	services, err := ws.Select(Selection{Names: []string{"profile"}, External: map[string]string{"cart": "127.0.0.1:9000"}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
	}
	if len(names) != 3 || names[0] != "cart" || !services[0].External() || services[0].Instances() != 1 {
		t.Errorf("selected %v", names)
	}
	if _, err := ws.Select(Selection{External: map[string]string{"card": "127.0.0.1:9000"}}); err == nil {
		t.Error("took a service that is not there")
	}
	if _, err := ws.Select(Selection{External: map[string]string{"seed": "127.0.0.1:9000"}}); err == nil {
		t.Error("took a task, which nobody can be sent to")
	}
}
