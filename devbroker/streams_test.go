package devbroker

import (
	"io/fs"
	"maps"
	"path/filepath"
	"testing"
	"time"
)

// written are the times at which the configurations of streams and consumers were
// written, by file.
func written(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	found := map[string]time.Time{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "meta.inf" {
			return err
		}
		info, err := d.Info()
		found[path] = info.ModTime()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A start that finds all as it is wanted does not wait for the disk, and one that
// does not changes what is different.
func TestAStartWithoutAChangeWritesNone(t *testing.T) {
	dir := t.TempDir()
	begin := func(users []User) (filter string, all map[string]time.Time) {
		b := start(t, Config{Dir: dir, Users: users})
		defer b.Shutdown()
		consumer, err := b.js.Consumer(t.Context(), "billing", "cart")
		if err != nil {
			t.Fatal(err)
		}
		for _, subject := range consumer.CachedInfo().Config.FilterSubjects {
			filter += subject + " "
		}
		return filter + consumer.CachedInfo().Config.FilterSubject, written(t, dir)
	}
	_, first := begin(shop())
	filter, second := begin(shop())
	if len(first) < 6 || !maps.Equal(first, second) || filter != "billing.declined billing.paid " {
		t.Errorf("%d configurations, and after a start without a change %v became %v: %s", len(first), first, second, filter)
	}
	less := shop()
	less[0].Consumes = []string{"billing.paid"}
	if filter, third := begin(less); filter != "billing.paid" || maps.Equal(second, third) {
		t.Errorf("after a change: %q", filter)
	}
	if filter, _ := begin(shop()); filter != "billing.declined billing.paid " {
		t.Errorf("and back: %q", filter)
	}
}
