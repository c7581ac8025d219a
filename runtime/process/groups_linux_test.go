package process

import (
	"os"
	"testing"
)

// What holds processes where the system has no better means: a group is killed whose
// note says when its leader started; one whose leader's pid is somebody else's by now
// is not.
func TestNotedGroups(t *testing.T) {
	g, d := groupsOf(t.TempDir()), driver(t)
	left, _ := start(t, d, &safeBuffer{}, "-fork")
	other, _ := start(t, d, &safeBuffer{})
	kept, _ := start(t, d, &safeBuffer{})
	for _, p := range []*Process{left, other, kept} {
		g.add(p.PID())
	}
	g.remove(kept.PID())
	for name, noted := range map[string]string{g.file(other.PID()): "12345", g.file(1): "", g.file(-1): "", string(g) + "/x": ""} {
		if err := os.WriteFile(name, []byte(noted), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g.kill()
	if <-left.Done(); left.Exit().Signal != "SIGKILL" {
		t.Errorf("the group that was left ended by %v", left.Exit())
	}
	for _, p := range []*Process{other, kept} {
		select {
		case <-p.exited:
			t.Errorf("a process that was not meant ended by %v", p.Exit())
		default:
		}
		p.Kill()
		<-p.Done()
	}
	if entries, err := os.ReadDir(string(g)); err != nil || len(entries) != 1 || entries[0].Name() != "x" {
		t.Errorf("noted still: %v %v", entries, err)
	}
}
