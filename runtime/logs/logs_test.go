package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "logs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func texts(lines []Line) string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Line)
	}
	return strings.Join(out, "|")
}

func TestLinesAreWhole(t *testing.T) {
	s := open(t)
	w := s.Writer("cart", "cart-1", Stdout)
	for _, part := range []string{"a", "b\nc\nd", "", "e\n", "{\"level\":\"info\"}\r\nbad \xff\n", "end"} {
		fmt.Fprint(w, part)
	}
	w.Close()
	lines := s.Recent(Query{})
	if got, want := texts(lines), "ab|c|de|{\"level\":\"info\"}|bad \uFFFD|end"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if string(lines[3].Fields) != `{"level":"info"}` || lines[0].Fields != nil {
		t.Errorf("fields: %+v", lines)
	}
	read, err := Read(s.dir, Query{})
	if err != nil || texts(read) != texts(lines) {
		t.Errorf("on disk: %q %v", texts(read), err)
	}
	if read[0].Instance != "cart-1" || read[0].Stream != Stdout || !read[0].Time.Equal(lines[0].Time.Truncate(1)) {
		t.Errorf("on disk: %+v, in memory %+v", read[0], lines[0])
	}
}

func TestHugeLineIsCut(t *testing.T) {
	for name, parts := range map[string][]string{
		"in pieces": {strings.Repeat("x", MaxLine-1), strings.Repeat("y", 5000), "\nnext\n"},
		"at once":   {strings.Repeat("x", MaxLine+5000) + "\nnext\n"},
		"unended":   {strings.Repeat("x", 3*MaxLine)},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			w := s.Writer("cart", "cart-1", Stdout)
			for _, p := range parts {
				fmt.Fprint(w, p)
			}
			w.Close()
			lines := s.Recent(Query{})
			if n := len(lines[0].Line); n > MaxLine+64 || !strings.HasSuffix(lines[0].Line, "bytes cut]") {
				t.Errorf("%d bytes: …%q", n, lines[0].Line[n-30:])
			}
			if name != "unended" && lines[1].Line != "next" {
				t.Errorf("the line after it: %q", lines[1].Line)
			}
		})
	}
}

func TestQuery(t *testing.T) {
	s := open(t)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, service := range []string{"b", "a", "b", "a"} {
		w := s.Writer(service, service+"-1", Stdout)
		w.now = func() time.Time { return at.Add(time.Duration(i) * time.Second) }
		fmt.Fprintf(w, "line %d\n", i)
	}
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{}, "line 0|line 1|line 2|line 3"},
		{Query{Services: []string{"a"}}, "line 1|line 3"},
		{Query{Since: at.Add(2 * time.Second)}, "line 2|line 3"},
		{Query{Last: 1}, "line 3"},
		{Query{Grep: regexp.MustCompile("[02]")}, "line 0|line 2"},
	} {
		if got := texts(s.Recent(tt.q)); got != tt.want {
			t.Errorf("%+v: got %s, want %s", tt.q, got, tt.want)
		}
		if read, err := Read(s.dir, tt.q); err != nil || texts(read) != tt.want {
			t.Errorf("on disk, %+v: got %s %v, want %s", tt.q, texts(read), err, tt.want)
		}
	}
}

func TestRotation(t *testing.T) {
	s := open(t)
	w := s.Writer("cart", "cart-1", Stdout)
	chunk := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 1000))
	for range 500 {
		w.Write(chunk)
	}
	entries, _ := os.ReadDir(s.dir)
	var total int64
	for _, e := range entries {
		info, _ := e.Info()
		total += info.Size()
	}
	if len(entries) != oldFiles+1 || total > (oldFiles+1)*(fileBytes+1<<20) {
		t.Errorf("%d files, %d bytes", len(entries), total)
	}
	if _, err := Read(s.dir, Query{Last: 1}); err != nil {
		t.Error(err)
	}
}

// TestAFullDisk: what is printed meanwhile is still in memory, Err says why it is
// not kept, and the file says what it lacks once there is room again.
func TestAFullDisk(t *testing.T) {
	s := open(t)
	file := filepath.Join(s.dir, "cart.log")
	if err := os.Symlink("/dev/full", file); err != nil {
		t.Fatal(err)
	}
	w := s.Writer("cart", "cart-1", Stdout)
	fmt.Fprint(w, "a\nb\n")
	fmt.Fprint(w, "c\n")
	if err := s.Err(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
	if got := texts(s.Recent(Query{})); got != "a|b|c" {
		t.Errorf("in memory: %s", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := s.Err(); err != nil {
		t.Errorf("there is room: %v", err)
	}
	fmt.Fprint(w, "d\n")
	lines, err := Read(s.dir, Query{})
	if got := texts(lines); err != nil || !regexp.MustCompile(`^\[mesh: 3 lines before this one were not kept: .*no space left on device\]\|d$`).MatchString(got) {
		t.Errorf("on disk: %s %v", got, err)
	}
}

func TestFollowIsToldWhatItMissed(t *testing.T) {
	s := open(t)
	w := s.Writer("cart", "cart-1", Stdout)
	fmt.Fprintln(w, "before")
	ctx, cancel := context.WithCancel(t.Context())
	entered, release := make(chan struct{}), make(chan struct{})
	got, missed := 0, 0
	done := make(chan error)
	go func() {
		first := true
		done <- s.Follow(ctx, Query{}, func(lines []Line) error {
			for _, l := range lines {
				got++
				missed += l.Missed
			}
			if first {
				first = false
				close(entered)
				<-release // a frozen viewer
			}
			if got+missed == 1001 {
				cancel()
			}
			return nil
		})
	}()
	<-entered
	for i := range 500 {
		fmt.Fprintf(w, "%d\nand one more\n", i)
	}
	close(release)
	fmt.Fprint(w) // nothing: the producer is done
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if missed == 0 || got+missed != 1001 {
		t.Errorf("got %d, missed %d", got, missed)
	}
}

// TestWhatIsFilteredOutTakesNoCountWithIt: a follower that asks for some lines alone
// is told what it missed before the next of them.
func TestWhatIsFilteredOutTakesNoCountWithIt(t *testing.T) {
	s := open(t)
	w := s.Writer("cart", "cart-1", Stdout)
	fmt.Fprintln(w, "wanted")
	entered, release, end := make(chan struct{}), make(chan struct{}), errors.New("end")
	missed, done := 0, make(chan error)
	go func() {
		first := true
		done <- s.Follow(t.Context(), Query{Grep: regexp.MustCompile("wanted")}, func(lines []Line) error {
			if first {
				first = false
				close(entered)
				<-release // a frozen viewer
				return nil
			}
			missed = lines[0].Missed
			return end
		})
	}()
	<-entered
	for range followQueue + 10 {
		fmt.Fprintln(w, "noise")
	}
	close(release)
	for {
		fmt.Fprintln(w, "wanted") // one of them finds room
		select {
		case err := <-done:
			if !errors.Is(err, end) || missed < 10 {
				t.Errorf("missed %d, %v", missed, err)
			}
			return
		default:
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-01-01T00:00:00.000000000Z cart-1 stdout hello\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if b := parse("cart", line); b != nil {
			b.lines(&Query{}, nil)
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	s := open(b)
	w := s.Writer("cart", "cart-1", Stdout)
	chunk := []byte(strings.Repeat(strings.Repeat("x", 79)+"\n", 400))
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		w.Write(chunk)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*400), "ns/line")
}
