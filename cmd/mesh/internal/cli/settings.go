package cli

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/viper"

	"github.com/ebef7166/mesh/manifest"
)

// settings are what a person prefers: from MESH_* variables, else from the file
// mesh/config.yaml in their configuration folder. Flags win over both.
type settings struct {
	gateway     string        // MESH_GATEWAY: address
	driver      string        // MESH_DRIVER: process or container
	waitTimeout time.Duration // MESH_WAIT_TIMEOUT
}

// preference is one setting: its key in the file and what is wrong with a value.
type preference struct {
	key   string
	fault func(value string) error // nil: anything will do
}

var preferences = []preference{
	{"gateway", manifest.CheckAddress},
	{"driver", checkDriver},
	{"state", nil}, // the state folder, for commands inside mesh smoke; see deps.place
	{"wait-timeout", checkWait},
}

func checkDriver(name string) error {
	if name != "process" && name != "container" {
		return fmt.Errorf("%q is no driver: it takes process or container", name)
	}
	return nil
}

func checkWait(text string) error {
	switch d, err := time.ParseDuration(text); {
	case err != nil:
		return fmt.Errorf("%q is no duration: write it as 30s or 2m", text)
	case d <= 0:
		return fmt.Errorf("%q is too short: it takes more than 0", text)
	}
	return nil
}

// checkTimeout holds a flag to what the setting is held to; 0 is the flag that is not
// given.
func checkTimeout(flag string, d time.Duration) error {
	if d < 0 {
		return usageError("%s %s: it takes more than 0", flag, d)
	}
	return nil
}

// variable is the name of the setting in the environment.
func (p preference) variable() string {
	return "MESH_" + strings.ToUpper(strings.ReplaceAll(p.key, "-", "_"))
}

// loadSettings reads them for what uses them.
func loadSettings() (settings, error) {
	v, err := readSettings()
	if err == nil {
		err = checkSettings(v)
	}
	if err != nil {
		return settings{}, err
	}
	v.SetDefault("wait-timeout", 120*time.Second)
	return settings{gateway: v.GetString("gateway"), driver: v.GetString("driver"), waitTimeout: v.GetDuration("wait-timeout")}, nil
}

// readSettings does not check them: with a mistake in one that it does not use, a
// command works.
func readSettings() (*viper.Viper, error) {
	v := viper.New()
	v.SetEnvPrefix("MESH")
	v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	v.AutomaticEnv()
	if dir, err := os.UserConfigDir(); err == nil {
		v.SetConfigFile(filepath.Join(dir, "mesh", "config.yaml"))
		if err := v.ReadInConfig(); err != nil && !os.IsNotExist(err) {
			return nil, usageError("%s: %w", v.ConfigFileUsed(), err)
		}
	}
	return v, nil
}

// checkSettings says where a setting stands that cannot be used: in a variable or
// in the file.
func checkSettings(v *viper.Viper) error {
	var faults []error
	for _, p := range preferences {
		if err := p.check(v); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", p.place(v), err))
		}
	}
	known := make([]string, len(preferences))
	for i, p := range preferences {
		known[i] = p.key
	}
	for _, key := range slices.Sorted(maps.Keys(v.AllSettings())) {
		if !slices.Contains(known, key) {
			faults = append(faults, fmt.Errorf("%s: %s", v.ConfigFileUsed(), manifest.UnknownKey(key, known)))
		}
	}
	if len(faults) > 0 {
		return usageError("%w", errors.Join(faults...))
	}
	return nil
}

func (p preference) check(v *viper.Viper) error {
	switch v.Get(p.key).(type) {
	case map[string]any, []any:
		return errors.New("it takes one value, not a map or a list")
	}
	if value := v.GetString(p.key); value != "" && p.fault != nil {
		return p.fault(value)
	}
	return nil
}

// place is where the setting is given.
func (p preference) place(v *viper.Viper) string {
	if os.Getenv(p.variable()) != "" {
		return p.variable()
	}
	return v.ConfigFileUsed() + ": " + p.key
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
