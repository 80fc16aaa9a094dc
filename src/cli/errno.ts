import { EIO } from '../linux/errno.ts'

/** errno numbers of x86-64 Linux for what file operations report; this machine's own numbers may differ. */
const LINUX_ERRNO: Readonly<Record<string, number>> = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  EACCES: 13,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  ENAMETOOLONG: 36,
  ENOTEMPTY: 39,
  ELOOP: 40,
}

/** The errno of an error that Node threw; one that Linux has under another meaning or not at all is EIO. */
export function errnoOf(error: unknown): number {
  const code = (error as NodeJS.ErrnoException | null)?.code
  // A reader that went away may also show as a reset connection.
  if (code === 'ECONNRESET' || code === 'ERR_STREAM_DESTROYED') return LINUX_ERRNO['EPIPE']
  return code === undefined ? EIO : (LINUX_ERRNO[code] ?? EIO)
}
