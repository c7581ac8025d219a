package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestStreams: whichever file table the thread has that starts it, a program gets its
// streams and nothing else, and the thread's own holds next to nothing.
func TestStreams(t *testing.T) {
	for _, shares := range []bool{false, true} {
		t.Run(fmt.Sprintf("shares %t", shares), func(t *testing.T) {
			const many = 100
			openMany(t, many)
			d, stdout, stderr := driverOf(t, shares), &safeBuffer{}, &safeBuffer{}
			p, err := d.Start(Spec{
				Argv: []string{"sh", "-c", "cat; echo out; echo err >&2; ls /proc/$$/fd; exit 3"},
				Env:  os.Environ(), Stdout: stdout, Stderr: stderr, Marker: "MESH_INSTANCE=streams",
			})
			if err != nil {
				t.Fatal(err)
			}
			<-p.Done()
			if d.holder.files == nil && !shares {
				t.Skip("a thread cannot have a file table of its own here")
			}
			if least := leastFiles(); (least < many) == shares {
				t.Errorf("the thread with the fewest files has %d", least)
			}
			files, found := strings.CutPrefix(stdout.String(), "out\n")
			if !found || files != "0\n1\n2\n" && !shares { // a shared table has what our own parent left us, too
				t.Errorf("stdout %q", stdout)
			}
			if got := stderr.String(); got != "err\n" {
				t.Errorf("stderr %q", got)
			}
			if p.Exit().Code != 3 {
				t.Errorf("exit %v", p.Exit())
			}
		})
	}
}

// TestAClosedFileIsClosed: the thread's table was copied from ours, and keeps nothing
// of ours open.
func TestAClosedFileIsClosed(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	d, out := driver(t), &safeBuffer{}
	p, _ := start(t, d, out)
	w.Close()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	p.Kill()
	<-p.Done()
}

func openMany(t testing.TB, n int) {
	for range n {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
	}
}

// leastFiles is how many files the thread of ours has that has the fewest.
func leastFiles() int {
	tables, _ := filepath.Glob("/proc/self/task/*/fd")
	least := -1
	for _, table := range tables {
		if files, err := os.ReadDir(table); err == nil && (least < 0 || len(files) < least) {
			least = len(files)
		}
	}
	return least
}

// BenchmarkStart is a start beside the files of a thousand other instances.
func BenchmarkStart(b *testing.B) {
	for _, shares := range []bool{true, false} {
		b.Run(fmt.Sprintf("shares %t", shares), func(b *testing.B) {
			openMany(b, 5000)
			d := driverOf(b, shares)
			for b.Loop() {
				p, err := d.Start(Spec{Argv: []string{"true"}, Marker: "MESH_INSTANCE=bench"})
				if err != nil {
					b.Fatal(err)
				}
				<-p.Done()
			}
		})
	}
}

// TestNothingIsOpenedBeforeRunIsReady: what starts early could leave no files for it.
func TestNothingIsOpenedBeforeRunIsReady(t *testing.T) {
	d := NewDriver(t.TempDir())
	before := len(openFiles(t))
	var starting sync.WaitGroup
	for range 20 {
		starting.Go(func() {
			if _, err := d.Start(Spec{Argv: []string{"true"}, Marker: "X=y"}); !errors.Is(err, errStopping) {
				t.Error(err)
			}
		})
	}
	for range 100 { // whatever they do, they do it now
		if now := len(openFiles(t)); now > before+2 { // of the look itself
			t.Fatalf("%d files, %d before", now, before)
		}
	}
	close(d.holder.ended)
	starting.Wait()
}

func openFiles(t *testing.T) []os.DirEntry {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return files
}
