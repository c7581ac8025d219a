package manifest

import "testing"

func TestCommandsForTheShell(t *testing.T) {
	for line, shell := range map[string]bool{
		"./server --port ${PORT}": false, "bundle exec rails s": false, "node exec.js": false,
		"exec bundle exec sidekiq": true, "cd sub": true, ". ./env": true, "ulimit -n 1024": true, "a | b": true, "A=1 b": true,
	} {
		c := parseCommand(line)
		if (c.Shell == line) != shell || (len(c.Args) > 0) == shell {
			t.Errorf("%q: %+v", line, c)
		}
	}
}
