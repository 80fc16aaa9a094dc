import { EINVAL } from '../errno.ts'
import type { TextFile } from '../fs/text-file.ts'
import type { Kernel } from '../kernel.ts'

/** /proc/sys/kernel/split_lock_mitigate: 0 or 1. SLD-15. */
export function splitLockMitigate(kernel: Kernel): TextFile {
  return {
    mode: 0o644,
    read: () => `${kernel.splitLock.mitigate ? 1 : 0}\n`,
    write: (_task, text) => {
      const value = /^\s*(\d+)\s*$/.exec(text)?.[1]
      if (value === undefined || Number(value) > 1) return -EINVAL
      kernel.splitLock.mitigate = Number(value) === 1
      return 0
    },
  }
}
