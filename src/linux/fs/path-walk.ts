import { EACCES, EBADF, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR } from '../errno.ts'
import { OpenFile } from '../file.ts'
import type { Task } from '../task.ts'
import { DirectoryFile } from './directory-file.ts'
import { Directory, MagicLink, type Node, Symlink } from './node.ts'

export const AT_FDCWD = -100
const MAX_LINKS = 40
const PATH_MAX = 4096
const NAME_MAX = 255

type Step = { name: string; directory: Directory }

/** Where a path leads. */
export interface Found {
  /** What is there; null when the last component does not exist. */
  node: Node | null
  /** A magic link led straight to an open file (/proc/self/fd/N). */
  file: OpenFile | null
  /** Directory of the last component, and that component. */
  parent: Directory
  name: string
  /** Canonical absolute path. */
  path: string
  /** Directories from the root to `parent`. */
  steps: Step[]
  /** The path ended in a slash: it must be a directory. */
  wantsDirectory: boolean
}

/**
 * Resolves a path as the kernel's namei does.
 * @param follow whether a symbolic link in the last place is followed
 * @returns the place, or -errno; a missing last component is not an error here
 */
export function walkPath(task: Task, dirfd: number, path: string, follow: boolean, flags = 0): Found | number {
  if (path === '') return -ENOENT
  if (path.length >= PATH_MAX) return -ENAMETOOLONG
  let steps: Step[]
  if (path.startsWith('/')) steps = []
  else if (dirfd === AT_FDCWD) steps = [...task.fs.cwd]
  else {
    const file = task.files.get(dirfd)
    if (file === null) return -EBADF
    if (!(file instanceof DirectoryFile)) return -ENOTDIR
    steps = [...file.steps]
  }
  return walkFrom(task, steps, path, follow, flags, { left: MAX_LINKS })
}

function walkFrom(
  task: Task,
  steps: Step[],
  path: string,
  follow: boolean,
  flags: number,
  links: { left: number },
): Found | number {
  const { root, mounts } = task.kernel
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  const wantsDirectory = path.endsWith('/') || path.endsWith('/.')
  const current = () => (steps.length === 0 ? root : steps[steps.length - 1].directory)
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]
    const last = i === parts.length - 1
    if (part.length > NAME_MAX) return -ENAMETOOLONG
    if (part === '..') {
      steps.pop()
      continue
    }
    const parent = current()
    const node = mounts.get(pathOf([...steps, { name: part, directory: parent }])) ?? parent.lookup(task, part)
    if (node === null) return last ? place(null, null, parent, part, steps, wantsDirectory) : -ENOENT
    if (node instanceof Symlink && (!last || follow || wantsDirectory)) {
      if (links.left-- === 0) return -ELOOP
      if (node instanceof MagicLink) {
        const target = node.follow(task, flags)
        if (typeof target === 'number') return target
        if (target instanceof OpenFile) return last ? place(null, target, parent, part, steps, wantsDirectory) : -ENOTDIR
        if (last) return place(target, null, parent, part, steps, wantsDirectory)
        if (!(target instanceof Directory)) return -ENOTDIR
        steps.push({ name: part, directory: target })
        continue
      }
      const target = node.target(task)
      if (typeof target === 'number') return target
      const rest = [target, ...parts.slice(i + 1)].join('/') + (wantsDirectory && last ? '/' : '')
      return walkFrom(task, target.startsWith('/') ? [] : steps, rest, follow, flags, links)
    }
    if (last) {
      if (wantsDirectory && !(node instanceof Directory)) return -ENOTDIR
      return place(node, null, parent, part, steps, wantsDirectory)
    }
    if (!(node instanceof Directory)) return -ENOTDIR
    steps.push({ name: part, directory: node })
  }
  // The path named a directory by `/`, `.` or `..`.
  const directory = current()
  const above = steps.slice(0, -1)
  const parent = above.length === 0 ? root : above[above.length - 1].directory
  const name = steps.length === 0 ? '' : steps[steps.length - 1].name
  return { node: directory, file: null, parent, name, path: pathOf(steps), steps: above, wantsDirectory: true }
}

function place(
  node: Node | null,
  file: OpenFile | null,
  parent: Directory,
  name: string,
  steps: Step[],
  wantsDirectory: boolean,
): Found {
  return { node, file, parent, name, path: pathOf([...steps, { name, directory: parent }]), steps, wantsDirectory }
}

function pathOf(steps: Step[]): string {
  return `/${steps.map((step) => step.name).join('/')}`
}

/** Like `walkPath`, but the place must exist. */
export function findNode(task: Task, dirfd: number, path: string, follow: boolean): Node | number {
  const found = walkPath(task, dirfd, path, follow)
  if (typeof found === 'number') return found
  if (found.file !== null) return -EACCES
  return found.node ?? -ENOENT
}
