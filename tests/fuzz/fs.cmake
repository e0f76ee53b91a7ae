foreach(subject proc_status proc_cgroup subuid inode)
	coffer_fuzz_target(${subject} coffer_fs_tested)
endforeach()
coffer_fuzz_target(tar coffer_cli_commands)
