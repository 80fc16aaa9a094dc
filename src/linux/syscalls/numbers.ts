/** Numbers that code outside the table needs (arch/x86/entry/syscalls/syscall_64.tbl). */
export const NR_restart_syscall = 219
/** Numbers end here in 6.12; beyond, ENOSYS is what a real kernel says too. */
export const NR_SYSCALLS = 463
