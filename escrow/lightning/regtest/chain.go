package regtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/wire"
)

// chainLog keeps every block beside btcd, which writes its own blocks to disk only every
// five minutes: killed before, it forgets them, and an lnd that has seen them then waits
// for ever.
type chainLog struct {
	path string

	mu    sync.Mutex
	known map[chainhash.Hash]bool // blocks in the file, and the genesis block
}

func newChainLog(path string) *chainLog {
	return &chainLog{path: path, known: map[chainhash.Hash]bool{*chaincfg.SimNetParams.GenesisHash: true}}
}

// restore gives btcd the blocks that it has forgotten.
func (l *chainLog) restore(miner *rpcclient.Client) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	blocks, err := l.load()
	if err != nil {
		return fmt.Errorf("restore the chain: %w", err)
	}
	for _, block := range blocks {
		l.known[block.BlockHash()] = true
	}
	if len(blocks) > 0 {
		last := blocks[len(blocks)-1].BlockHash()
		if _, err := miner.GetBlock(&last); err == nil {
			return nil
		}
	}
	for _, block := range blocks {
		err := miner.SubmitBlock(btcutil.NewBlock(block), nil)
		if err != nil && !strings.Contains(err.Error(), "already have block") {
			return fmt.Errorf("restore block %s: %w", block.BlockHash(), err)
		}
	}
	return nil
}

// load reads the file and cuts off a block that was not written whole.
func (l *chainLog) load() ([]*wire.MsgBlock, error) {
	file, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var blocks []*wire.MsgBlock
	var whole int64
	for {
		block := new(wire.MsgBlock)
		err := block.Deserialize(file)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return blocks, file.Truncate(whole)
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", l.path, err)
		}
		blocks = append(blocks, block)
		whole += int64(block.SerializeSize())
	}
}

// save writes down the blocks that are new in btcd's chain, whoever mined them.
func (l *chainLog) save(miner *rpcclient.Client) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.appendNew(miner); err != nil {
		return fmt.Errorf("save the chain: %w", err)
	}
	return nil
}

func (l *chainLog) appendNew(miner *rpcclient.Client) error {
	hash, err := miner.GetBestBlockHash()
	if err != nil {
		return err
	}
	var fresh []*wire.MsgBlock
	for !l.known[*hash] {
		block, err := miner.GetBlock(hash)
		if err != nil {
			return err
		}
		fresh = append(fresh, block)
		hash = &block.Header.PrevBlock
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, block := range slices.Backward(fresh) {
		if err := block.Serialize(file); err != nil {
			return err
		}
		l.known[block.BlockHash()] = true
	}
	return nil
}
