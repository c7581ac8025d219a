package dotenv

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, text string) (map[string]string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Read(path)
}

func TestRead(t *testing.T) {
	t.Setenv("FROM_HOST", "host")
	got, err := read(t, `# a comment
HASH=a#b
SPACED=a b # comment
EXP=yes
EXPAND=${EXP}-${NOPE:-def}-${FROM_HOST}
FORMS=${NOPE2-def}-${NOPE2+alt}-${EXP+alt}-$NOPE3
SINGLE='$EXP # x'
DOUBLE="a\nb ${EXP}"
export EXPORTED=1
EMPTY=
YAML: y
MANY="one
two"
FROM_HOST
NOT_THERE
`)
	want := map[string]string{"HASH": "a#b", "SPACED": "a b", "EXP": "yes", "EXPAND": "yes-def-host", "FORMS": "def--alt-", "SINGLE": "$EXP # x", "DOUBLE": "a\nb yes",
		"EXPORTED": "1", "EMPTY": "", "YAML": "y", "MANY": "one\ntwo", "FROM_HOST": "host"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%q %v", got, err)
	}
}

// TestErrorsTellNoSecret: what is wrong with a line may well be that it belongs to a key.
func TestErrorsTellNoSecret(t *testing.T) {
	for text, want := range map[string]string{
		"API=ok\nKEY=-----BEGIN RSA PRIVATE KEY-----\nMIIEsecret+line/=\n-----END RSA PRIVATE KEY-----\n": ".env:3: is not NAME=value",
		"A=1\nmy secret is long\n": ".env:2: is not NAME=value",
		"A=\"secret\nB=2\n":        "a quote is opened",
		"A=${secret\n":             "a ${…} in it is not well formed",
		"A=${B?secret}\n":          "asks for a variable that has no value",
		"A=${B:?secret}\n":         "a ${…} in it is not well formed, or asks for a variable that has no value",
	} {
		got, err := read(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("A=1\nB=${A:-x}\nC='q'\n")
	f.Add("export A=\"\\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		if values, err := read(t, text); err != nil && values != nil {
			t.Error("values beside an error")
		}
	})
}

// TestWhatIsNoFile is not waited for: a pipe that nobody writes to.
func TestWhatIsNoFile(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), ".env")
	if err := exec.Command("mkfifo", pipe).Run(); err != nil {
		pipe = t.TempDir()
	}
	if _, err := Read(pipe); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Error(err)
	}
}

func TestNUL(t *testing.T) {
	if _, err := read(t, "A=1\nB=x\x00y\n"); err == nil || !strings.Contains(err.Error(), ".env:2: has a NUL") {
		t.Error(err)
	}
}
