package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits below which larger workspaces meet trouble.
const (
	fewFiles     = 1024
	fewWatches   = 8192
	fewInstances = 64
)

func doctorLimits() []finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil
	}
	files := good("open files", fmt.Sprintf("up to %d, of which an instance takes about 8", limit.Max))
	if limit.Max < fewFiles {
		files = finding{files.Name, findingMissing, files.Text, "ulimit -n 65536"}
	}
	return []finding{files,
		inotify("inotify watches", "max_user_watches", fewWatches, "one for each folder"),
		inotify("inotify instances", "max_user_instances", fewInstances, "one for each folder tree")}
}

func inotify(name, setting string, few int, use string) finding {
	data, err := os.ReadFile("/proc/sys/fs/inotify/" + setting)
	if err != nil {
		return finding{name, findingMissing, err.Error(), "saves may not be seen"}
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	text := fmt.Sprintf("up to %d, %s", n, use)
	if err != nil || n < few {
		return finding{name, findingMissing, text, fmt.Sprintf("sysctl fs.inotify.%s=%d", setting, 8*few)}
	}
	return good(name, text)
}
