/** Numbers that code outside the table needs (arch/x86/entry/syscalls/syscall_64.tbl). */
export const NR_restart_syscall = 219
