package container

import (
	"bytes"
	"io"
	"testing"
)

func TestRefusal(t *testing.T) {
	const engine = "OCI runtime exec failed: exec failed: no such file\r\n"
	for _, tt := range []struct {
		name    string
		writes  []string
		code    int
		out     string
		refused bool
	}{
		{"a program's output", []string{"a", "b"}, 127, "ab", false},
		{"one that begins alike", []string{"OCI", " is a name"}, 0, "OCI is a name", false},
		{"its whole output", []string{"O"}, 0, "O", false},
		{"nothing", nil, 0, "", false},
		{"the engine", []string{engine[:10], engine[10:]}, 126, "", true},
		{"a program that prints that", []string{engine}, 1, engine, false},
	} {
		var out bytes.Buffer
		r := &refusal{to: &out}
		for _, text := range tt.writes {
			if _, err := io.WriteString(r, text); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.end(tt.code); (err != nil) != tt.refused || out.String() != tt.out {
			t.Errorf("%s: %v, %q", tt.name, err, out.String())
		}
	}
}
