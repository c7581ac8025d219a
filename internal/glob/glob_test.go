package glob

import "testing"

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		glob, path string
		want       bool
	}{
		{"src/**/*.ts", "src/x/y.ts", true},
		{"src/**/*.ts", "src/y.ts", true},
		{"src/**/*.ts", "other/y.ts", false},
		{"**", "a/b", true},
		{"*.go", "a/b.go", false},
		{"../common/**", "../common/a/b", true},
		{"[", "[", false},
	} {
		if got := Match(tt.glob, tt.path); got != tt.want {
			t.Errorf("%s and %s: %v", tt.glob, tt.path, got)
		}
	}
}

func TestBase(t *testing.T) {
	for glob, want := range map[string]string{"../../common/**": "../../common", "../*/x": "..", "../a/b.txt": "../a", "*.go": "", "..": "."} {
		if got := Base(glob); got != want {
			t.Errorf("%s: %q, want %q", glob, got, want)
		}
	}
	for glob, want := range map[string]bool{"../x": true, "a/../../x": true, "a/../x": false, "..x": false, "/x": true, "..": true} {
		if Leaves(glob) != want {
			t.Errorf("%s: not %v", glob, want)
		}
	}
}
