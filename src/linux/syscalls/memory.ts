import { EBADF, EINVAL, ENOMEM } from '../errno.ts'
import { brk, fullyMapped, MAP_ANONYMOUS, madvise, mmap, mprotect, mremap, munmap } from '../mm/mmap.ts'
import { withPreemptionDisabled } from '../preemption.ts'
import type { PinnedProcessor } from '../processor.ts'
import type { Task } from '../task.ts'
import { full, partial, type SyscallRows } from './support.ts'

const PKEY_COUNT = 16

/** Memory: LUX §3, §4. */
export const memoryCalls: SyscallRows = {
  9: {
    name: 'mmap',
    args: 'ptr size PROT MAP fd hex',
    support: partial('no huge pages: MAP_HUGETLB is ENOMEM'),
    run: (task, a) => {
      const flags = a.int(3)
      const anonymous = (flags & MAP_ANONYMOUS) !== 0
      const file = anonymous ? null : task.files.get(a.int(4))
      if (!anonymous && file === null) return -EBADF
      return mmap(task, a.long(0), a.long(1), a.int(2), flags, file, a.long(5))
    },
  },
  10: {
    name: 'mprotect',
    args: 'ptr size PROT',
    support: full,
    run: (task, a) => mprotect(task, a.long(0), a.long(1), a.int(2), -1),
  },
  11: { name: 'munmap', args: 'ptr size', support: full, run: (task, a) => munmap(task, a.long(0), a.long(1)) },
  12: { name: 'brk', args: 'ptr', support: full, run: (task, a) => brk(task, a.long(0)) },
  25: {
    name: 'mremap',
    args: 'ptr size size hex ptr',
    support: partial('no MREMAP_DONTUNMAP'),
    run: (task, a) => mremap(task, a.long(0), a.long(1), a.long(2), a.int(3), a.long(4)),
  },
  26: { name: 'msync', args: 'ptr size hex', support: partial('nothing is ever written back'), run: () => 0 },
  28: { name: 'madvise', args: 'ptr size MADV', support: full, run: (task, a) => madvise(task, a.long(0), a.long(1), a.int(2)) },
  149: {
    name: 'mlock',
    args: 'ptr size',
    support: partial('memory is never swapped, RLIMIT_MEMLOCK does not count'),
    run: (task, a) => lockRange(task, a.long(0), a.long(1)),
  },
  150: { name: 'munlock', args: 'ptr size', support: partial('memory is never swapped'), run: () => 0 },
  151: { name: 'mlockall', args: 'hex', support: partial('memory is never swapped'), run: () => 0 },
  152: { name: 'munlockall', args: '', support: partial('memory is never swapped'), run: () => 0 },
  329: {
    name: 'pkey_mprotect',
    args: 'ptr size PROT int',
    support: full,
    run: (task, a) => {
      const key = a.int(3)
      if (key !== -1 && (key < 0 || key >= PKEY_COUNT || ((task.mm.pkeys >>> key) & 1) === 0)) return -EINVAL
      return mprotect(task, a.long(0), a.long(1), a.int(2), key)
    },
  },
  330: {
    name: 'pkey_alloc',
    args: 'hex hex',
    support: full,
    run: (task, a) => {
      if (a.u32(0) !== 0 || (a.u32(1) & ~3) !== 0) return -EINVAL
      if (!task.kernel.xstate.pku) return -28
      for (let key = 1; key < PKEY_COUNT; key++) {
        if (((task.mm.pkeys >>> key) & 1) !== 0) continue
        task.mm.pkeys |= 1 << key
        withPreemptionDisabled(task, setKeyRights, { key, rights: a.u32(1) })
        return key
      }
      return -28
    },
  },
  331: {
    name: 'pkey_free',
    args: 'int',
    support: full,
    run: (task, a) => {
      const key = a.int(0)
      if (key < 1 || key >= PKEY_COUNT || ((task.mm.pkeys >>> key) & 1) === 0) return -EINVAL
      task.mm.pkeys &= ~(1 << key)
      return 0
    },
  },
}

function setKeyRights({ processor }: PinnedProcessor, { key, rights }: { key: number; rights: number }): void {
  processor.setPkru((processor.pkru & ~(3 << (key * 2))) | (rights << (key * 2)))
}

/** mlock(2): nothing to do but to say what is not mapped. */
function lockRange(task: Task, address: number, length: number): number {
  const start = Math.floor(address / 4096) * 4096
  const end = Math.ceil((address + length) / 4096) * 4096
  if (address < 0 || length < 0) return -EINVAL
  return length === 0 || fullyMapped(task.mm, start, end) ? 0 : -ENOMEM
}
