import type { Kernel } from '../kernel.ts'
import { memoryDevices } from './devices.ts'
import { type HostFiles, hostNode } from './host-bind.ts'
import { Directory, FixedDirectory, Symlink } from './node.ts'
import { makeProc } from './proc.ts'
import { makeSys } from './sys.ts'
import { TextNode } from './text-file.ts'
import { TmpfsDirectory } from './tmpfs.ts'

/** The file tree of a fresh host: what LUX §10 lists, and nothing of the world outside. */
export function makeRoot(kernel: Kernel): FixedDirectory {
  const root = new FixedDirectory()
  const dev = root.directory('dev')
  dev.dev = 5
  for (const [name, node] of memoryDevices()) dev.add(name, node)
  dev.add('shm', new TmpfsDirectory(kernel, 0o1777))
  dev.add('fd', new Symlink('/proc/self/fd'))
  for (const [name, fd] of [
    ['stdin', 0],
    ['stdout', 1],
    ['stderr', 2],
  ] as const)
    dev.add(name, new Symlink(`/proc/self/fd/${fd}`))
  root.add('tmp', new TmpfsDirectory(kernel, 0o1777))
  root.add('run', new TmpfsDirectory(kernel, 0o755))
  const proc = makeProc(kernel)
  proc.dev = 0x15
  root.add('proc', proc)
  makeSys(kernel, root.directory('sys'))
  const etc = root.directory('etc')
  const text = (content: string) => new TextNode({ read: () => content, size: content.length })
  etc.add('hostname', text(`${kernel.hostname}\n`))
  etc.add('hosts', text(`127.0.0.1\tlocalhost ${kernel.hostname}\n`))
  etc.add('passwd', text(`root:x:0:0:root:/root:/bin/sh\nuser:x:${kernel.uid}:${kernel.gid}::/:/bin/sh\n`))
  etc.add('group', text(`root:x:0:\nuser:x:${kernel.gid}:\n`))
  return root
}

/** Puts files of the world outside at `at`, making the directories on the way. False: there is nothing, or a file is in the way. */
export function bindHostFiles(kernel: Kernel, at: string, files: HostFiles): boolean {
  const parts = at.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.length === 0) {
    const names = files.list('')
    if (typeof names !== 'number') for (const name of names) addMissing(kernel, files, name)
    return typeof names !== 'number'
  }
  const node = hostNode(kernel, files, '')
  if (node === null) return false
  let directory: Directory | null = kernel.root
  let path = ''
  for (const part of parts.slice(0, -1)) {
    path += `/${part}`
    directory = directoryForBind(kernel, directory, part, path)
    if (directory === null) return false
  }
  kernel.mounts.set(`${path}/${parts[parts.length - 1]}`, node)
  if (directory instanceof FixedDirectory) directory.add(parts[parts.length - 1], node)
  return true
}

/** The directory `name` on the way to a bind; made where it is missing. Null: something else has that name. */
function directoryForBind(kernel: Kernel, parent: Directory, name: string, path: string): Directory | null {
  const found = kernel.mounts.get(path) ?? parent.lookup(null, name)
  if (found instanceof Directory) return found
  if (found !== null) return null
  if (parent instanceof FixedDirectory) return parent.directory(name)
  if (parent instanceof TmpfsDirectory && parent.makeDirectory(name, 0o755) === 0) return parent.lookup(null, name) as Directory
  const made = new FixedDirectory()
  kernel.mounts.set(path, made)
  return made
}

/** A bind at `/` shows what does not hide the kernel's own directories. */
function addMissing(kernel: Kernel, files: HostFiles, name: string): void {
  if (kernel.root.lookup(null, name) !== null) return
  const node = hostNode(kernel, files, name)
  if (node !== null) kernel.root.add(name, node)
}
