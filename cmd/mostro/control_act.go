package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"mostro/escrow"
	"mostro/escrow/order"
)

// act is a decision of the operator.
type act struct {
	Do     string      `json:"do"`
	Reason string      `json:"reason"`
	Mode   escrow.Mode `json:"mode,omitempty"`
	Order  string      `json:"order,omitempty"`
	Hash   order.Hash  `json:"hash"`
	Yes    bool        `json:"yes,omitempty"` // the second look was taken; of an escrow: it is settled
}

// acts are what an operator can decide while the node runs. What they return is told him, "" when
// there is nothing but that it is done.
func acts() map[string]func(context.Context, *escrow.Engine, act) (string, error) {
	return map[string]func(context.Context, *escrow.Engine, act) (string, error){
		"mode": func(ctx context.Context, e *escrow.Engine, a act) (string, error) {
			return "", e.SetMode(ctx, a.Mode, a.Reason)
		},
		"reset": func(ctx context.Context, e *escrow.Engine, a act) (string, error) {
			return "", e.ResetBreaker(ctx, a.Reason)
		},
		"free": func(ctx context.Context, e *escrow.Engine, a act) (string, error) {
			return "", e.FreeOrder(ctx, a.Order, a.Reason)
		},
		"explain": func(ctx context.Context, e *escrow.Engine, a act) (string, error) {
			if a.Order == "" {
				return "", e.DisownStray(ctx, a.Hash, a.Yes, a.Reason)
			}
			return "", e.ExplainStray(ctx, a.Hash, a.Order, a.Reason)
		},
		"payout": func(ctx context.Context, e *escrow.Engine, a act) (string, error) {
			return e.TellPayout(ctx, escrow.Payout{ID: a.Order, Paid: a.Hash, Sure: a.Yes, Reason: a.Reason})
		},
		"escrow": func(ctx context.Context, e *escrow.Engine, a act) (string, error) {
			return e.TellEscrow(ctx, escrow.Escrow{ID: a.Order, Settled: a.Yes, Reason: a.Reason})
		},
	}
}

func (n *node) takeAct(w http.ResponseWriter, req *http.Request) {
	var a act
	err := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxControl)).Decode(&a)
	do, said := acts()[a.Do], ""
	switch {
	case err != nil:
	case do == nil:
		err = errors.New("no such command; are node and command of the same version?")
	default:
		said, err = do(req.Context(), n.engine, a)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	_, _ = io.WriteString(w, said) // the command may be gone
}

func (n *node) sendStatus(w http.ResponseWriter, _ *http.Request) {
	status, err := n.engine.Status()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(nodeStatus{status, n.backedUp.state(), n.priceState()}) // the command may be gone
}

// act carries a decision to the running node, and returns what it says to that.
func (c *control) act(ctx context.Context, a act) (said string, err error) {
	body, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	answer, err := c.ask(ctx, http.MethodPost, "/act", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer answer.Close()
	text, err := io.ReadAll(io.LimitReader(answer, maxControl))
	return string(text), err
}

// nodeStatus is how a node stands: its escrow, and what this package does beside it.
type nodeStatus struct {
	escrow.Status
	Backup backupState `json:"backup"`
	Prices priceState  `json:"prices"`
}

func (c *control) status(ctx context.Context) (s nodeStatus, err error) {
	body, err := c.ask(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return s, err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxStatus)).Decode(&s); err != nil {
		return s, fmt.Errorf("read the status: %w", err)
	}
	return s, nil
}

// toRunning finds the node of a command that needs it to run.
func toRunning(cmd *cobra.Command, dir string) (*control, error) {
	dir, err := resolveDataDir(dir)
	if err != nil {
		return nil, err
	}
	c, err := dialControl(cmd.Context(), dir)
	if errors.Is(err, errNotRunning) {
		return nil, hint(err, "start it: "+startsIn(dir), "or name its data directory with --data-dir")
	}
	if err != nil {
		return nil, err
	}
	return c.patient(cmd), nil
}

// nodeCall is a command line, ready to be typed, for the node whose directory was named: as it stands it
// must not reach another one.
func nodeCall(cmd *cobra.Command, rest string) string {
	call := "mostro " + rest
	if dir := cmd.Flags().Lookup("data-dir"); dir != nil && dir.Changed {
		call += " --data-dir " + dir.Value.String()
	}
	return call
}

// reasonFlag adds --reason to a decision that is kept in the log of the guards.
func reasonFlag(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "why; it is kept, and mostro status shows it")
	_ = cmd.MarkFlagRequired("reason") // only fails for a flag that is not there
}

// decide makes a command that carries one decision to the running node.
func decide(use, short, long string, args cobra.PositionalArgs, make func(args []string) (act, error), done string) *cobra.Command {
	var dir, reason string
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := make(args)
			if err != nil {
				return err
			}
			c, err := toRunning(cmd, dir)
			if err != nil {
				return err
			}
			a.Reason = reason
			said, err := c.act(cmd.Context(), a)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.ReplaceAll(cmp.Or(said, done), "mostro status", nodeCall(cmd, "status")))
			return err
		},
	}
	dataDirFlag(cmd, &dir, "~/.mostro")
	waitFlag(cmd)
	reasonFlag(cmd, &reason)
	return cmd
}
