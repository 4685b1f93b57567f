package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	osuser "os/user"
	"path/filepath"
	"strconv"
)

// refuseRoot keeps root out of a data directory of somebody else. A store writes also when it is only read: what
// a crash has left is put in order first. Such files would be root's, and the node of the owner could not start
// any more. uid is who asks; doing is the command, for the text.
//
// The directory is his who has the stores in it. Only root is asked: nobody else makes files where he must not,
// unless a group was given the right to.
func refuseRoot(dir, doing string, uid int) error {
	if uid != 0 {
		return nil
	}
	var info fs.FileInfo
	for _, of := range []string{escrowDir, relayDir, replicaDir, "."} {
		var err error
		if info, err = os.Stat(filepath.Join(dir, of)); err == nil {
			break
		}
	}
	if info == nil {
		return nil // there is nothing yet
	}
	owner, known := ownerOf(info)
	if !known || owner == uid {
		return nil
	}
	name := "#" + strconv.Itoa(owner) // as sudo takes it
	if u, err := osuser.LookupId(strconv.Itoa(owner)); err == nil {
		name = cmp.Or(u.Username, name)
	}
	return hint(fmt.Errorf("%s belongs to %s, and you are root: what is written there would be root's, and %s could not use it any more", dir, name, name),
		fmt.Sprintf("as its owner: sudo -u '%s' %s --data-dir %s", name, doing, dir),
		fmt.Sprintf("if root is to run the node from now on, give it all to root first: chown -R root %s", dir))
}
