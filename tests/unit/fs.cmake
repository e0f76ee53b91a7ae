foreach(subject inode handle caller_proc caller resolver bell control)
	coffer_unit_test(${subject} coffer_fs Threads::Threads)
endforeach()
