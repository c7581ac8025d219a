package cli

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/viper"
)

// settings are what a person prefers: from MESH_* variables, else from the file
// mesh/config.yaml in their configuration folder. Flags win over both.
type settings struct {
	gateway     string        // MESH_GATEWAY: address
	driver      string        // MESH_DRIVER: process or container
	state       string        // MESH_STATE: the state folder, for commands inside mesh smoke
	waitTimeout time.Duration // MESH_WAIT_TIMEOUT
}

func loadSettings() (settings, error) {
	v := viper.New()
	v.SetEnvPrefix("MESH")
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	v.AutomaticEnv()
	v.SetDefault("wait-timeout", 120*time.Second)
	if dir, err := os.UserConfigDir(); err == nil {
		v.SetConfigFile(filepath.Join(dir, "mesh", "config.yaml"))
		if err := v.ReadInConfig(); err != nil && !os.IsNotExist(err) {
			return settings{}, usageError("%s: %w", v.ConfigFileUsed(), err)
		}
	}
	return settings{gateway: v.GetString("gateway"), driver: v.GetString("driver"), state: v.GetString("state"),
		waitTimeout: v.GetDuration("wait-timeout")}, nil
}

// version is set by the release build; a build from source says what it knows of
// its module and commit.
var version = ""

func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return info.Main.Version + " (" + s.Value[:12] + ")"
		}
	}
	return info.Main.Version
}
