package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/spf13/cobra"
)

const maxTokenFile = 64 << 10 // bytes

func (t *tool) tokenCommand() *cobra.Command {
	inspect := &cobra.Command{
		Use:   "inspect FILE|-",
		Short: "Show what a token looks like from outside; proves nothing",
		Long: "Shows a token's structure in CBOR diagnostic notation, or a JWT's header and claims. It checks no signature:\n" +
			"what it shows may be forged. What is encrypted stays closed.",
		Example: "  latchkey token inspect token.cwt\n  phone token --print | latchkey token inspect -",
		Args:    command.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := readToken(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			view, err := inspect(token)
			if err != nil {
				return fmt.Errorf("this is no token (%w): give a CWT or JWT as bytes, hex or base64url", err)
			}
			return t.say(cmd.OutOrStdout(), map[string]string{"token": view}, "%s", view)
		},
	}
	return command.Group("token", "Tokens", "  latchkey token inspect token.cwt", inspect)
}

// readToken takes the bytes, or their hex or base64url text.
func readToken(stdin io.Reader, name string) ([]byte, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxTokenFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxTokenFile {
		return nil, fmt.Errorf("%s: longer than any token: at most %d bytes", name, maxTokenFile)
	}
	text := string(bytes.TrimSpace(data))
	if raw, err := hex.DecodeString(text); err == nil && len(raw) > 0 {
		return raw, nil
	}
	if raw, err := base64.RawURLEncoding.DecodeString(text); err == nil && len(raw) > 0 {
		return raw, nil
	}
	if len(data) == 0 {
		return nil, errors.New("no token given")
	}
	if strings.Count(text, ".") == 2 {
		return []byte(text), nil
	}
	return data, nil
}

func inspect(token []byte) (string, error) {
	if bytes.Count(token, []byte(".")) == 2 && bytes.HasPrefix(token, []byte("eyJ")) {
		return jose.Describe(string(token))
	}
	return cwt.Describe(token)
}

// orNone joins the lines of a list, or says that there are none.
func orNone(lines []string, none string) string {
	if len(lines) == 0 {
		return none
	}
	return strings.Join(lines, "\n")
}
