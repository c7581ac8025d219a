package cli

import "testing"

func TestPasted(t *testing.T) {
	for word, want := range map[string]string{
		"/home/a-b/c_1.d/.mesh/copies/1": "/home/a-b/c_1.d/.mesh/copies/1",
		"/sp ace/x":                      "'/sp ace/x'",
		"/ü$HOME":                        "'/ü$HOME'",
		"it's":                           `'it'\''s'`,
		"":                               "''",
	} {
		if got := pasted(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
