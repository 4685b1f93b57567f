package regtest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// state is what a network's directory says about itself, in network.json.
type state struct {
	Nodes     []string  `json:"nodes"`
	Channels  []Channel `json:"channels"`
	PortBlock int       `json:"port_block"` // the last one used
	RPCPass   string    `json:"rpc_pass"`   // of btcd
	Ready     bool      `json:"ready"`      // channels are open; before that a start begins anew
}

const stateFile = "network.json"

// loadState reads the state of the network in a directory, or makes that of a new one.
func loadState(config Config) (state, error) {
	path := filepath.Join(config.Dir, stateFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newState(config), nil
	}
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return state{}, fmt.Errorf("read %s: %w; remove the directory to begin anew", path, err)
	}
	if !s.Ready {
		return newState(config), nil
	}
	if !slices.Equal(s.Nodes, config.Nodes) || !slices.Equal(s.Channels, config.Channels) {
		return state{}, fmt.Errorf("%s describes a network of other nodes or channels (%v); remove the directory or use another", path, s.Nodes)
	}
	return s, nil
}

func newState(config Config) state {
	return state{Nodes: config.Nodes, Channels: config.Channels, RPCPass: rand.Text()}
}

// save replaces the file whole, so that a crash leaves the old one or the new one.
func (s state) save(dir string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, stateFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
