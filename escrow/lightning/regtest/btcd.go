package regtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcutil"
	"github.com/btcsuite/btcd/chaincfg"
	"github.com/btcsuite/btcd/rpcclient"
	"github.com/btcsuite/btcd/txscript"
	"github.com/btcsuite/btcd/wire"
)

const (
	portsOfBtcd = 2 // RPC, then peers
	rpcUser     = "mostro"
	fundingFee  = 100_000 // sat
)

// minerKey owns the coins of every block. Everybody knows it: they are worthless.
func minerKey() *btcec.PrivateKey {
	seed := sha256.Sum256([]byte("the miner of a local Lightning network"))
	key, _ := btcec.PrivKeyFromBytes(seed[:])
	return key
}

func minerAddress() (*btcutil.AddressPubKeyHash, error) {
	hash := btcutil.Hash160(minerKey().PubKey().SerializeCompressed())
	return btcutil.NewAddressPubKeyHash(hash, &chaincfg.SimNetParams)
}

func (n *Network) btcdDir() string { return filepath.Join(n.config.Dir, btcdName) }

// Bitcoin returns the access to btcd's RPC.
func (n *Network) Bitcoin() Bitcoin {
	return Bitcoin{
		RPC:  n.ports.address(0),
		User: rpcUser,
		Pass: n.state.RPCPass,
		Cert: filepath.Join(n.btcdDir(), "rpc.cert"),
	}
}

func (n *Network) btcdArgs(miner *btcutil.AddressPubKeyHash) []string {
	dir, bitcoin := n.btcdDir(), n.Bitcoin()
	return []string{
		"--simnet", n.markerOf(btcdName), "--logdir=" + filepath.Join(dir, "logs"),
		"--rpclisten=" + bitcoin.RPC, "--listen=" + n.ports.address(1),
		"--rpcuser=" + bitcoin.User, "--rpcpass=" + bitcoin.Pass,
		"--rpccert=" + bitcoin.Cert, "--rpckey=" + filepath.Join(dir, "rpc.key"),
		"--rpcmaxclients=50", "--rpcmaxwebsockets=50",
		"--miningaddr=" + miner.EncodeAddress(), "--txindex",
		"--nodnsseed", "--nobanning", "--nostalldetect", "--trickleinterval=50ms",
		"--blockprioritysize=0", "--norelaypriority", "--debuglevel=warn",
	}
}

// startBtcd starts the Bitcoin node and waits for its RPC.
func (n *Network) startBtcd(ctx context.Context) error {
	n.config.Progress("starting btcd")
	address, err := minerAddress()
	if err != nil {
		return err
	}
	bitcoin := n.Bitcoin()
	if err := os.MkdirAll(n.btcdDir(), 0o700); err != nil {
		return err
	}
	if !n.runs(btcdName) {
		if err := n.run(btcdName, n.config.Binaries.BTCD, n.btcdArgs(address)); err != nil {
			return err
		}
	}
	// The client below would wait half a second after a refused connection.
	err = until(ctx, "btcd's RPC", func() (bool, error) {
		conn, err := net.DialTimeout("tcp", bitcoin.RPC, time.Second)
		if err != nil {
			return false, err
		}
		return true, conn.Close()
	})
	if err != nil {
		return err
	}
	if n.miner == nil {
		if n.miner, err = dialMiner(bitcoin); err != nil {
			return err
		}
	}
	return n.chain.restore(n.miner)
}

// dialMiner makes a client of btcd. It opens a connection for each call.
func dialMiner(bitcoin Bitcoin) (*rpcclient.Client, error) {
	cert, err := os.ReadFile(bitcoin.Cert)
	if err != nil {
		return nil, err
	}
	return rpcclient.New(&rpcclient.ConnConfig{
		Host: bitcoin.RPC, User: bitcoin.User, Pass: bitcoin.Pass, Certificates: cert, HTTPPostMode: true,
	}, nil)
}

// generate mines blocks and returns the height of the last.
func (n *Network) generate(blocks uint32) (height uint32, err error) {
	if !n.runs(btcdName) { // its client would try for half a minute
		return 0, fmt.Errorf("mine %d blocks: %s: %w", blocks, btcdName, errDown)
	}
	if _, err := n.miner.Generate(blocks); err != nil {
		return 0, fmt.Errorf("mine %d blocks: %w", blocks, err)
	}
	if err := n.chain.save(n.miner); err != nil {
		return 0, err
	}
	return n.Height()
}

// Height is the height of the chain.
func (n *Network) Height() (uint32, error) {
	count, err := n.miner.GetBlockCount()
	if err != nil {
		return 0, fmt.Errorf("read the chain's height: %w", err)
	}
	return uint32(count), nil
}

// Mine adds blocks, waits until every running node has seen them, and returns the height.
func (n *Network) Mine(ctx context.Context, blocks uint32) (height uint32, err error) {
	ctx, release := n.guard(ctx)
	defer release()
	if height, err = n.generate(blocks); err != nil {
		return 0, err
	}
	return height, n.forEachNode(func(name string) error {
		if !n.responsive(name) {
			return nil
		}
		return n.waitSynced(ctx, name, height)
	})
}

// mineRegularly keeps the chain fresh.
func (n *Network) mineRegularly() {
	ticker := time.NewTicker(n.config.BlockInterval)
	defer ticker.Stop()
	for {
		select {
		case <-n.stopped:
			return
		case <-ticker.C:
			if _, err := n.generate(1); err != nil {
				n.config.Progress(err.Error())
			}
		}
	}
}

// fundNodes pays coins of the first block to every node's wallet.
func (n *Network) fundNodes(ctx context.Context) error {
	tx := wire.NewMsgTx(wire.TxVersion)
	for _, name := range n.config.Nodes {
		script, err := n.newAddressScript(ctx, name)
		if err != nil {
			return err
		}
		tx.AddTxOut(wire.NewTxOut(nodeFunds, script))
	}
	if err := n.signFunding(tx); err != nil {
		return fmt.Errorf("fund nodes: %w", err)
	}
	if _, err := n.miner.SendRawTransaction(tx, true); err != nil {
		return fmt.Errorf("fund nodes: %w", err)
	}
	if _, err := n.Mine(ctx, confirmations); err != nil {
		return err
	}
	return n.forEachNode(func(name string) error { return n.waitFunds(ctx, name) })
}

// signFunding adds the first coinbase as the input of tx, gives the rest back to the miner
// and signs.
func (n *Network) signFunding(tx *wire.MsgTx) error {
	hash, err := n.miner.GetBlockHash(1)
	if err != nil {
		return err
	}
	block, err := n.miner.GetBlock(hash)
	if err != nil {
		return err
	}
	coinbase := block.Transactions[0]
	change := coinbase.TxOut[0].Value - fundingFee
	for _, output := range tx.TxOut {
		change -= output.Value
	}
	if change < 0 {
		return errors.New("the first block's coins are not enough")
	}
	address, err := minerAddress()
	if err != nil {
		return err
	}
	script, err := txscript.PayToAddrScript(address)
	if err != nil {
		return err
	}
	tx.AddTxOut(wire.NewTxOut(change, script))
	coinbaseHash := coinbase.TxHash()
	tx.AddTxIn(wire.NewTxIn(wire.NewOutPoint(&coinbaseHash, 0), nil, nil))
	tx.TxIn[0].SignatureScript, err = txscript.SignatureScript(tx, 0, script, txscript.SigHashAll, minerKey(), true)
	return err
}

// waitMempool waits until transactions wait for a block.
func (n *Network) waitMempool(ctx context.Context, transactions int) error {
	return until(ctx, "funding transactions", func() (bool, error) {
		waiting, err := n.miner.GetRawMempool()
		return len(waiting) >= transactions, err
	})
}
