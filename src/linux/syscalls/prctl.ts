import { EFAULT, EINVAL } from '../errno.ts'
import type { Task } from '../task.ts'
import type { SyscallArguments } from './arguments.ts'

const PR_SET_PDEATHSIG = 1
const PR_GET_DUMPABLE = 3
const PR_SET_DUMPABLE = 4
const PR_SET_NAME = 15
const PR_GET_NAME = 16
const PR_GET_TSC = 25
const PR_SET_TSC = 26
const PR_SET_NO_NEW_PRIVS = 38
const PR_GET_NO_NEW_PRIVS = 39
const PR_SET_VMA = 0x53564d41
const PR_SET_PTRACER = 0x59616d61
const PR_TSC_ENABLE = 1

/** prctl(2): the options that need nothing of the model but a note. Others are EINVAL, as for a kernel that lacks them. */
export function prctl(task: Task, a: SyscallArguments): number {
  const user = a.long(1)
  switch (a.int(0)) {
    case PR_SET_PDEATHSIG:
      return user < 0 || user > 64 ? -EINVAL : 0
    case PR_GET_DUMPABLE:
      return task.group.dumpable ? 1 : 0
    case PR_SET_DUMPABLE:
      if (user !== 0 && user !== 1) return -EINVAL
      task.group.dumpable = user === 1
      return 0
    case PR_SET_NAME: {
      const bytes = new Uint8Array(16)
      if (task.mm.copyFromUserPartly(bytes, 0, user, 16) === 0) return -EFAULT
      bytes[15] = 0
      task.comm = String.fromCharCode(...bytes.subarray(0, bytes.indexOf(0)))
      return 0
    }
    case PR_GET_NAME: {
      const bytes = Uint8Array.from(task.comm.padEnd(16, '\0'), (c) => c.charCodeAt(0))
      return task.mm.copyToUser(user, bytes, 0, 16) ? 0 : -EFAULT
    }
    case PR_GET_TSC:
      return task.mm.putUser32(user, PR_TSC_ENABLE) ? 0 : -EFAULT
    case PR_SET_TSC:
      return user === PR_TSC_ENABLE ? 0 : -EINVAL
    case PR_SET_NO_NEW_PRIVS:
      return user === 1 ? 0 : -EINVAL
    case PR_GET_NO_NEW_PRIVS:
      return 0
    case PR_SET_PTRACER: // no Yama
    case PR_SET_VMA:
      return -EINVAL // built without CONFIG_ANON_VMA_NAME; glibc tries it for thread stacks
    default:
      task.kernel.syscalls.note(`prctl option ${a.int(0)}`)
      return -EINVAL
  }
}
